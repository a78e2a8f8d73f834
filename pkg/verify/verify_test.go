package verify

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

var lines = map[string]string{"/dir/file": "file 0644 0:0 some content that is read", "/dir/other": "file 0644 0:0 more"}

func write(t *testing.T, name string, img sparse.Image, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, img.Size())
	if n, err := img.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func extImage(t *testing.T) string {
	v, err := ext4.Plan(treetest.New(t, lines), 8<<20, ext4.Options{})
	return write(t, "ext4.raw", v, err)
}

func fatImage(t *testing.T) string {
	v, err := fat.Plan(treetest.New(t, lines), 4<<20, fat.Options{})
	return write(t, "fat.raw", v, err)
}

// spoil changes the first bytes in a file that are as told.
func spoil(t *testing.T, path, old, now string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(old))
	if at < 0 {
		t.Fatalf("%s holds no %q", path, old)
	}
	copy(b[at:], now)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, path string, o Options) *Report {
	t.Helper()
	r, err := Image(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoodImagesHaveNoFault(t *testing.T) {
	for _, path := range []string{extImage(t), fatImage(t)} {
		r := check(t, path, Options{})
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		if len(r.Checks) < 3 || !strings.Contains(r.Checks[1].Said, "names") {
			t.Errorf("checks are %+v", r.Checks)
		}
	}
}

func TestOurOwnReadersFindWhatIsSpoilt(t *testing.T) {
	directory := extImage(t)
	spoil(t, directory, "other", "o/her") // the directory's checksum no longer holds, nor is it a name
	fats := fatImage(t)
	spoil(t, fats, "\xf8\xff\xff", "\xf8\xff\xff\xff\xff\x00") // tables that differ
	short := extImage(t)
	if err := os.Truncate(short, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{directory, short} {
		err := check(t, path, Options{Own: true}).Err()
		var fault *FaultError
		if !errors.As(err, &fault) || fault.Path != path {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := find("fsck.vfat"); err == nil {
		if check(t, fats, Options{}).Err() == nil {
			t.Error("a spoilt FAT was found right")
		}
	}
}

func TestCheckersOfOthersAreAsked(t *testing.T) {
	if _, err := find("e2fsck"); err != nil {
		t.Skip("e2fsck (package e2fsprogs) is not installed")
	}
	path := extImage(t)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xff}, 4096+0x0c); err != nil { // free blocks of the first group
		t.Fatal(err)
	}
	f.Close()
	found := false
	for _, c := range check(t, path, Options{}).Checks {
		found = found || c.By == "e2fsck" && c.Fault != ""
	}
	if !found {
		t.Error("e2fsck found nothing")
	}
	for _, c := range check(t, path, Options{Own: true}).Checks {
		if c.By != "dibber" {
			t.Errorf("%s was asked", c.By)
		}
	}
}

func TestWhatCannotBeCheckedIsAnErrorAndNoFault(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "absent"), dir, "/dev/null"} {
		if r, err := Image(context.Background(), path, Options{}); err == nil {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if _, err := Image(context.Background(), extImage(t), Options{Image: inspect.Options{Backing: []string{filepath.Join(dir, "absent")}}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backing file that is absent: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Image(ctx, extImage(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestACheckerThatFailsWithoutAWordIsBelieved(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0": "", "exit 3": "exit status 3", "echo broken; exit 1": "exit status 1: broken", "kill -9 $$": "signal: killed",
	} {
		c := checker{"sh", []string{"-c", script}, zero}
		if got, err := c.run(context.Background(), "/bin/sh", "-x"); err != nil || got != want {
			t.Errorf("%s: %q, %v", script, got, err)
		}
	}
	if _, err := (checker{args: nil, right: zero}).run(context.Background(), filepath.Join(t.TempDir(), "absent"), "x"); err == nil {
		t.Error("a checker that does not start was believed")
	}
	long := checker{"sh", []string{"-c", "yes | head -c 1000000; echo No problems found"}, func(_ int, s string) bool {
		return len(s) <= 2*tailSize && strings.HasSuffix(s, "No problems found\n")
	}}
	if got, err := long.run(context.Background(), "/bin/sh", "-x"); err != nil || got != "" {
		t.Errorf("a long output: %q, %v", got, err)
	}
}

func TestNamesOfFilesAreNoOptionsAndNoProtocols(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"-q", "nbd:localhost:1", "json:{}"} {
		judge.Must(t, "qemu-img", "create", "-q", "-f", "qcow2", "./"+name, "1M")
		r := check(t, name, Options{})
		if err := r.Err(); err != nil || r.Checks[len(r.Checks)-1].By != "qemu-img" || r.Checks[len(r.Checks)-1].Skipped != "" {
			t.Errorf("%s: %v, %+v", name, err, r.Checks)
		}
	}
}
