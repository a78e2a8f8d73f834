package swap_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/swap"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

var options = swap.Options{
	Label: "exactly-16-bytes",
	UUID:  [16]byte{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55},
}

const uuid = "11111111-2222-3333-4444-555555555555"

func TestASwapSpaceIsThatOfMkswap(t *testing.T) {
	mkswap := judge.Tool(t, "mkswap")
	for _, size := range []int64{swap.Need(), 1 << 20, 16<<20 + 4095, 5 << 30} {
		short := options
		short.Label = "swap" // mkswap cuts a label at 15 bytes
		img, err := swap.Plan(size, short)
		if err != nil {
			t.Fatal(err)
		}
		theirs := judge.Save(t, sparse.Zero(size))
		if out, err := judge.Run(t, mkswap, "-L", short.Label, "-U", uuid, "-p", "4096", theirs); err != nil {
			t.Fatalf("mkswap: %v\n%s", err, out)
		}
		f, err := os.Open(theirs)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want, got := make([]byte, 4096), make([]byte, 4096)
		if _, err := f.ReadAt(want, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := img.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes: the header differs from that of mkswap", size)
		}
	}
}

func TestOthersSeeLabelAndUUID(t *testing.T) {
	img, err := swap.Plan(1<<20, options)
	if err != nil {
		t.Fatal(err)
	}
	file := judge.Save(t, img)
	for _, args := range [][]string{{"swaplabel", file}, {"blkid", "-p", "-o", "export", file}} {
		out, err := judge.Run(t, args[0], args[1:]...)
		if err != nil || !strings.Contains(out, options.Label) || !strings.Contains(out, uuid) {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	b := make([]byte, img.Size())
	if _, err := img.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	sparsetest.Test(t, img, b)
	b[4095] = 'x' // the end of the magic
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "swaplabel", file); err == nil {
		t.Errorf("swaplabel takes a space without its magic:\n%s", out)
	}
}

func TestSizesAndLabelsThatDoNotFitAreRefused(t *testing.T) {
	if _, err := swap.Plan(swap.Need()-1, swap.Options{}); err == nil || !strings.Contains(err.Error(), "at least 40960") {
		t.Errorf("too small a space gives %v", err)
	}
	if _, err := swap.Plan(1<<20, swap.Options{Label: "seventeen letters"}); err == nil || !strings.Contains(err.Error(), "at most 16") {
		t.Errorf("too long a label gives %v", err)
	}
}
