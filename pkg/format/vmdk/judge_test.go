package vmdk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func TestLibvmdkReadsTheFile(t *testing.T) {
	for _, o := range everyKind {
		for _, o.Name = range []string{"disk.vmdk"} {
			out, err := judge.Run(t, "vmdkinfo", write(t, formattest.Disk(20<<20), o))
			if err != nil || !strings.Contains(out, "20971520") && !strings.Contains(out, "20 MiB") {
				t.Errorf("vmdkinfo: %v\n%s", err, out)
			}
		}
	}
}

func TestSevenZipReadsTheFile(t *testing.T) {
	img := formattest.Disk(70 << 20)
	for _, o := range everyKind {
		dir := t.TempDir()
		if out, err := judge.Run(t, "7zz", "x", "-tvmdk", "-o"+dir, write(t, img, o)); err != nil {
			t.Fatalf("7zz: %v\n%s", err, out)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if equal, at, err := sparse.Equal(judge.Load(t, files[0]), img); err != nil || !equal {
			t.Errorf("%+v: what 7zz reads differs at %d, %v", o, at, err)
		}
	}
}

func TestTheJudgesFindFaults(t *testing.T) {
	img := formattest.Disk(12 << 20)
	for _, o := range everyKind[:2] {
		b := written(t, img, o)
		path := filepath.Join(t.TempDir(), "spoilt.vmdk")
		b[128<<9+100] ^= 1 // in the first grain
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", judge.Save(t, img), path); err == nil {
			t.Errorf("compare accepted a spoilt file:\n%s", out)
		}
		if equal, _, err := sparse.Equal(open(t, path), img); equal || (err != nil) != o.StreamOptimized {
			t.Errorf("the spoilt disk is equal, %v", err)
		}
		if err := os.WriteFile(path, b[:60000], 0o666); err != nil {
			t.Fatal(err)
		}
		if out, err := judge.Run(t, "qemu-img", "check", "-f", "vmdk", path); err == nil {
			t.Errorf("check accepted a spoilt file:\n%s", out)
		}
	}
}
