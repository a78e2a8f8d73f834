package format_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func open(t *testing.T, path string, o format.OpenOptions) *format.Opened {
	t.Helper()
	o.Dir = t.TempDir()
	found, err := format.Open(judge.Load(t, path), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := found.Close(); err != nil {
			t.Error(err)
		}
	})
	return found
}

// holds tells whether img is want with zeros behind it, up to size.
func holds(t *testing.T, img sparse.Image, want []byte, size int64) bool {
	t.Helper()
	padded, err := sparse.Join(size, sparse.Part{Image: sparse.Bytes(want)})
	if err != nil {
		t.Fatal(err)
	}
	equal, at, err := sparse.Equal(img, padded)
	if !equal || err != nil {
		t.Logf("%d bytes, want %d, the first difference is at %d, %v", img.Size(), size, at, err)
	}
	return equal && err == nil
}

func TestEveryKnownFormatIsFoundAgain(t *testing.T) {
	for _, name := range format.Known() {
		path := write(t, name, format.Options{})
		size, err := format.DiskSize(name, int64(len(disk())), format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, forced := range []string{"", name} {
			found := open(t, path, format.OpenOptions{Format: forced})
			if found.Format != name || !holds(t, found.Image, disk(), size) {
				t.Errorf("%s was found as %s", name, found.Format)
			}
		}
	}
}

func TestQemuImgFindsTheSameFormatAndSize(t *testing.T) {
	for name, as := range map[string]string{"qcow2": "qcow2", "vdi": "vdi", "vpc": "vpc", "vhdx": "vhdx", "vmdk": "vmdk", "raw": "raw"} {
		out, err := judge.Output(t, "qemu-img", "info", "--output=json", write(t, name, format.Options{}))
		var i struct {
			Format string `json:"format"`
			Size   int64  `json:"virtual-size"`
		}
		if err != nil || json.Unmarshal(out, &i) != nil || i.Format != as || i.Size != (int64(len(disk()))+511)/512*512 {
			t.Errorf("%s is %+v, %v", name, i, err)
		}
	}
}

func TestAVMDKIsCompressedWhenTheSettingsSaySo(t *testing.T) {
	path := write(t, "vmdk", format.Options{Settings: "subformat=streamOptimized", Name: "web.vmdk"})
	found := open(t, path, format.OpenOptions{})
	if !slices.Contains(found.Details, format.Detail{Name: "create type", Value: `"streamOptimized"`}) ||
		!holds(t, found.Image, disk(), (int64(len(disk()))+511)/512*512) {
		t.Errorf("it is %s with %v", found.Format, found.Details)
	}
}

func TestAFixedVHDHasWholeMiB(t *testing.T) {
	o := format.Options{Settings: "subformat=fixed"}
	size, err := format.DiskSize("vhd", int64(len(disk())), o)
	if err != nil || size != 1<<20 {
		t.Errorf("the size is %d, %v", size, err)
	}
	path := write(t, "vhd", o)
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<20+512 {
		t.Errorf("the file takes %v, %v", st.Size(), err)
	}
	if found := open(t, path, format.OpenOptions{}); found.Format != "vhd" || !holds(t, found.Image, disk(), size) {
		t.Errorf("it was found as %s", found.Format)
	}
}

func TestTheNamesOfQemuStandForOurs(t *testing.T) {
	if format.Canonical("vpc") != "vhd" || format.Extension("vpc") != ".vhd" || format.Extension("raw.gz") != ".raw.gz" || format.Canonical("x") != "x" {
		t.Error("vpc is not vhd")
	}
}

func TestAGuestsHeaderDoesNotCountWhenTheFormatIsGiven(t *testing.T) {
	b, err := os.ReadFile(write(t, "qcow2", format.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if found := open(t, path, format.OpenOptions{}); found.Format != "qcow2" {
		t.Errorf("the file's name counted: %s", found.Format)
	}
	found := open(t, path, format.OpenOptions{Format: "raw"})
	if found.Format != "raw" || !holds(t, found.Image, b, int64(len(b))) {
		t.Errorf("it was read as %s", found.Format)
	}
	if _, err := format.Open(judge.Load(t, path), format.OpenOptions{Format: "vdi"}); err == nil || !strings.Contains(err.Error(), "as vdi: it is none") {
		t.Errorf("the error is %v", err)
	}
	if _, err := format.Open(judge.Load(t, path), format.OpenOptions{Format: "raw.gz"}); err == nil || !strings.Contains(err.Error(), "as raw.gz: it is none") {
		t.Errorf("the error is %v", err)
	}
	if _, err := format.Open(judge.Load(t, path), format.OpenOptions{Format: "qed"}); err == nil || !strings.Contains(err.Error(), `"qed"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestACompressedFileMayHoldAnyFormat(t *testing.T) {
	path := write(t, "qcow2", format.Options{})
	for tool, ending := range map[string]string{"gzip": ".gz", "zstd": ".zst", "xz": ".xz", "bzip2": ".bz2"} {
		b, err := judge.Output(t, tool, "-c", path)
		if err != nil {
			t.Fatal(err)
		}
		packed := filepath.Join(t.TempDir(), "packed")
		if err := os.WriteFile(packed, b, 0o666); err != nil {
			t.Fatal(err)
		}
		found := open(t, packed, format.OpenOptions{})
		if found.Format != "qcow2"+ending || !holds(t, found.Image, disk(), (int64(len(disk()))+511)/512*512) {
			t.Errorf("it was found as %s", found.Format)
		}
		if tool == "gzip" || tool == "zstd" { // which can be asked for, as they are written too
			if found := open(t, packed, format.OpenOptions{Format: "raw" + ending}); found.Format != "raw"+ending {
				t.Errorf("it was read as %s", found.Format)
			}
		}
		if _, err := format.Open(judge.Load(t, packed), format.OpenOptions{Format: "raw.gz"}); tool != "gzip" && err == nil {
			t.Errorf("%s was read as gzip", tool)
		}
	}
}

func TestABackingFileIsUsedByQcow2Only(t *testing.T) {
	o := format.OpenOptions{Backing: sparse.Zero(1 << 20), Dir: t.TempDir()}
	for _, name := range []string{"raw", "raw.gz", "vdi"} {
		if _, err := format.Open(judge.Load(t, write(t, name, format.Options{})), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestDetailsSayWhatTheFileSaysOfItself(t *testing.T) {
	for name, want := range map[string]format.Detail{
		"qcow2": {Name: "version", Value: "3"}, "vdi": {Name: "type", Value: "dynamic"}, "vhd": {Name: "type", Value: "dynamic"},
		"vhdx": {Name: "sector size", Value: "512"}, "vmdk": {Name: "create type", Value: `"monolithicSparse"`}, "raw.gz": {Name: "compression", Value: "gzip"}, "raw.zst": {Name: "compression", Value: "zstd"},
	} {
		if d := open(t, write(t, name, format.Options{}), format.OpenOptions{}).Details; !slices.Contains(d, want) {
			t.Errorf("%s: the details are %v", name, d)
		}
	}
}

func TestIdentifiersComeFromTheID(t *testing.T) {
	for _, name := range []string{"vdi", "vhd", "vhdx", "vmdk"} {
		read := func(id byte) []byte {
			b, err := os.ReadFile(write(t, name, format.Options{ID: [16]byte{id}}))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if one := read(1); !bytes.Equal(one, read(1)) || bytes.Equal(one, read(2)) {
			t.Errorf("%s: the file does not follow from the ID", name)
		}
	}
}

func TestAnEndedContextEndsUnpacking(t *testing.T) {
	b, err := judge.Output(t, "gzip", "-c", write(t, "raw", format.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := format.Open(sparse.WithContext(ctx, sparse.Bytes(b)), format.OpenOptions{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("the error is %v", err)
	}
}
