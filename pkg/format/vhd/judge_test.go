package vhd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func TestLibvhdiReadsTheFile(t *testing.T) {
	for _, o := range everyKind {
		o.ID = [16]byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8}
		out, err := judge.Run(t, "vhdiinfo", write(t, formattest.Disk(20<<20), o))
		if err != nil || !strings.Contains(out, "12345678-9abc-def0-0102-030405060708") {
			t.Errorf("vhdiinfo: %v\n%s", err, out)
		}
	}
}

func TestSevenZipReadsTheFile(t *testing.T) {
	img := formattest.Disk(70 << 20)
	for _, o := range everyKind {
		dir := t.TempDir()
		if out, err := judge.Run(t, "7zz", "x", "-tvhd", "-o"+dir, write(t, img, o)); err != nil {
			t.Fatalf("7zz: %v\n%s", err, out)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		got, err := sparse.Open(files[0])
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		formattest.Holds(t, got, img)
	}
}

func TestTheJudgesFindFaults(t *testing.T) {
	img := formattest.Disk(12 << 20)
	path := write(t, img, vhd.Options{})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[2048+600] ^= 1 // in the first block of data
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vpc", judge.Save(t, img), path); err == nil {
		t.Errorf("compare accepted a spoilt file:\n%s", out)
	}
	if equal, _, err := sparse.Equal(open(t, path), img); equal || err != nil {
		t.Errorf("the spoilt disk is equal, %v", err)
	}
}
