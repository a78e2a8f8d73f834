//go:build containers_image_openpgp

package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/hook"
)

// smallDisk mounts a file system below the directory of a test.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	if !namespaced {
		t.Skip("no file system can be mounted here")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestAWantOfRoomIsSeenWhoeverNoticesIt(t *testing.T) {
	said := func(line string) error {
		return fmt.Errorf("installing: %w", &hook.FailedError{Tail: []string{"before", line, "after"}, Err: errors.New("status 1")})
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("no"), false},
		{fmt.Errorf("writing: %w", &os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}), true},
		{fmt.Errorf("writing: %w", syscall.EDQUOT), true},
		{&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: syscall.ENOSPC}, false},
		{said("dd: error writing 'x': No space left on device"), true},
		{said("write /x: no space left on device"), true},
		{said("cp: error writing 'x': Disk quota exceeded"), true},
		{said("no space in the name"), false},
	} {
		if got := isFull(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestTheFullFileSystemIsNamedAndNoOther(t *testing.T) {
	roomy, small := smallDisk(t, "size=32m"), smallDisk(t, "size=2m")
	must(t, os.WriteFile(filepath.Join(small, "fills"), make([]byte, 2<<20-8192), 0o600))
	job := &Job{Dir: "/", StateDir: filepath.Join(roomy, "state"), CacheDir: filepath.Join(small, "not/there"), ImageCache: roomy, Name: filepath.Join(roomy, "image")}
	cause := fmt.Errorf("noting: %w", syscall.ENOSPC)
	err := job.explainFull(cause, nil)
	var full *FullError
	if !errors.As(err, &full) || len(full.Spaces) != 1 || full.Spaces[0].At != small || full.Spaces[0].Size != 2<<20 {
		t.Fatalf("got %+v", err)
	}
	if want := "ran out of room (" + small + " has 8192 bytes of 2 MiB free): noting: no space left on device"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if job.explainFull(err, nil) != err {
		t.Error("it is told twice")
	}

	// Where the room is there again, all of them are told; the one that an error
	// names is among them.
	must(t, os.Remove(filepath.Join(small, "fills")))
	elsewhere := smallDisk(t, "size=4m")
	err = job.explainFull(&os.PathError{Op: "write", Path: filepath.Join(elsewhere, "log"), Err: syscall.ENOSPC}, nil)
	if !errors.As(err, &full) || len(full.Spaces) != 3 || full.Spaces[0].At != small || full.Spaces[1].At != elsewhere {
		t.Errorf("got %+v", err)
	}
}

func TestAFileSystemWithoutInodesIsFull(t *testing.T) {
	dir := smallDisk(t, "size=8m,nr_inodes=3")
	for i := range 2 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
	}
	spaces := Spaces(dir, filepath.Join(dir, "again"))
	if len(spaces) != 1 || !spaces[0].isFull() || !strings.HasSuffix(spaces[0].String(), " has 8 MiB of 8 MiB free and no inode") {
		t.Errorf("got %v", spaces)
	}
}
