//go:build containers_image_openpgp

package container

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These run as root of namespaces of their own, as every test here.
func TestTheKernelIsTriedAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if k := TryKernel(context.Background(), filepath.Join(dir, "not", "yet")); k != (Kernel{}) {
		t.Errorf("refused: %+v", k)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if k := TryKernel(context.Background(), "/proc/self"); k.Overlay == "" || k.Mounts != "" {
		t.Errorf("an overlay below /proc: %+v", k)
	}
}

func TestAVolumeIsExaminedByWhatItKeeps(t *testing.T) {
	dir := t.TempDir()
	if err := examine(dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Skip("ramfs is not mounted here: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if err := examine(dir); err == nil || !strings.Contains(err.Error(), "on ramfs: it keeps no capabilities") {
		t.Errorf("got %v", err)
	}
}

func TestTheFileSystemOfADirectoryIsThatOfTheNearestMount(t *testing.T) {
	const mounts = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /build rw - tmpfs tmpfs rw
23 22 0:6 / /build/a\040b rw,noexec - nfs4 host:/x rw
24 21 0:7 / /build rw master:3 - overlay over rw
25 21 0:8 / /buildings rw - xfs /dev/sdb rw
no line of it
26 21 0:9 / /cut rw
`
	for dir, want := range map[string]string{"/": "ext4", "/home/x": "ext4", "/build": "overlay", "/build/c": "overlay", "/build/a b/c": "nfs4", "/buildings": "xfs", "/cut": "ext4"} {
		if got := fileSystemIn(mounts, dir, "?"); got != want {
			t.Errorf("%s is on %s, not %s", dir, got, want)
		}
	}
	if got := fileSystemIn("", "/", "?"); got != "?" {
		t.Errorf("got %s", got)
	}
}

// Ambient capabilities bring root through no_new_privs; hooks that become
// somebody else must not inherit them.
func TestNoCapabilityIsAmbientOrInheritable(t *testing.T) {
	for _, set := range []string{"CapAmb", "CapInh"} {
		if got := strings.Trim(processStatus(set), "0"); got != "" {
			t.Errorf("%s is %s", set, processStatus(set))
		}
	}
}

// Whatever step a process is told to be, without what the step before would have
// left to it, it comes to an end and starts no other without end.
func TestEveryStepEnds(t *testing.T) {
	for _, stage := range []string{"mapped", "mapped:init", "mapped:mapped:mapped:reaper", "init", "reaper", "sandbox", "probe", "probe:probe", "no such step"} {
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
		cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run", "^$")
		cmd.Env = append(os.Environ(), stageVariable+"="+stage, "DIBBER_TEST_SLEEPER=1")
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			t.Errorf("%s: still running: %v\n%s", stage, err, out)
		}
		stop()
	}
}
