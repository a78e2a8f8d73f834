//go:build containers_image_openpgp

package container

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// attribute reads NodeAttribute of a file, "" if it has none.
func attribute(path string) string {
	value := make([]byte, 64)
	n, err := unix.Getxattr(path, NodeAttribute, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

func TestDeviceNodesHaveStandIns(t *testing.T) {
	if makesNodes() {
		t.Skip("root of the machine makes real ones")
	}
	c, v := newContainer(t)
	script := `set -e
mkdir -p /srv/jail/srv
cd /srv
umask 027
mknod null c 1 3
mknod -m 604 disk b 259 70000
ln -s nowhere link
! mknod null c 1 3 2>/dev/null
! mknod link c 1 3 2>/dev/null
! mknod /nowhere/null c 1 3 2>/dev/null
mkdir -p jail/srv
/usr/sbin/chroot / sh -c 'cd /srv/jail && mknod ../beside c 5 1 && test -f /srv/beside'
mknod fifo p
`
	if err := exec.Command("mknod", filepath.Join(t.TempDir(), "probe"), "c", "1", "3").Run(); err != nil {
		t.Skip("the kernel lets nobody answer system calls: ", err)
	}
	if out, err := run(t, c, v, script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	srv := filepath.Join(c.Root(), "srv")
	for name, want := range map[string]string{"null": "c 1 3 640", "disk": "b 259 70000 604", "beside": "c 5 1 640", "fifo": " 640"} {
		info, err := os.Lstat(filepath.Join(srv, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := attribute(filepath.Join(srv, name)) + " " + octal(info); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// Where no attribute can be kept, and for users who are not root, it is refused.
	if out, err := exec.Command("setpriv", "--reuid=1", "--regid=1", "--clear-groups", "mknod", filepath.Join(t.TempDir(), "x"), "c", "1", "3").CombinedOutput(); err == nil || !strings.Contains(string(out), "not permitted") {
		t.Errorf("for another user: %v, %s", err, out)
	}
	if out, err := exec.Command("mknod", "/proc/x", "c", "1", "3").CombinedOutput(); err == nil {
		t.Errorf("in /proc: %v, %s", err, out)
	}
}

func octal(info os.FileInfo) string {
	mode := info.Mode().Perm()
	return string([]byte{'0' + byte(mode>>6), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
}
