//go:build containers_image_openpgp

package container

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NodeAttribute is the extended attribute of a file that stands for a device
// node, which no user namespace can make: its kind (c or b), major and minor
// number in decimal, separated by blanks.
const NodeAttribute = "user.dibber.node"

// standIns lets processes below this one make device nodes, as far as one can
// see: a process that asks for one gets an empty file with NodeAttribute. So
// programs that unpack or install a system (tar, unsquashfs, cpio, rpm) come to
// their end. Where the kernel does not offer that, they meet its refusal.
func standIns() {
	if makesNodes() {
		return
	}
	calls, err := watchNodes()
	if err != nil {
		return
	}
	go func() {
		for {
			call, err := calls.next()
			if err != nil {
				return
			}
			calls.answer(call, call.standIn(calls))
		}
	}()
}

// makesNodes tells whether this is root of the machine, who makes real nodes.
func makesNodes() bool {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return true
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	fields := strings.Fields(lines.Text())
	return len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295"
}

// nodeCall is a call of mknod that waits for an answer.
type nodeCall struct {
	id   uint64
	pid  int
	dir  int // descriptor of that process, or AT_FDCWD
	path uint64
	mode uint32
	dev  uint64
}

// standIn makes the file, as the calling process sees the world: with its root
// directory, its working directory and its umask.
func (c *nodeCall) standIn(calls *nodeCalls) error {
	proc := fmt.Sprintf("/proc/%d/", c.pid)
	path, err := readString(proc+"mem", c.path)
	if err != nil {
		return err
	}
	umask, privileged, err := readCaller(proc + "status")
	if err != nil {
		return err
	}
	if !privileged {
		return unix.EPERM
	}
	from := proc + "cwd"
	if c.dir != unix.AT_FDCWD {
		from = proc + "fd/" + strconv.Itoa(c.dir)
	}
	root, err := unix.Open(proc+"root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	dir, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if !calls.waits(c.id) {
		return unix.ESRCH // all of this may have been of another process with that number
	}
	made := make(chan error)
	go func() { made <- makeStandIn(root, dir, path, c.mode&^umask, c.describe()) }()
	return <-made
}

func (c *nodeCall) describe() string {
	kind := "c"
	if c.mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	return fmt.Sprintf("%s %d %d", kind, unix.Major(c.dev), unix.Minor(c.dev))
}

// makeStandIn does its work on a thread that has a root directory of its own, and
// that ends with it.
func makeStandIn(root, dir int, path string, mode uint32, what string) error {
	runtime.LockOSThread() // never unlocked: the thread is of no use to others
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := errors.Join(unix.Fchdir(root), unix.Chroot("."), unix.Fchdir(dir)); err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, NodeAttribute, []byte(what), unix.XATTR_CREATE); err != nil {
		unix.Unlink(path)
		return unix.EPERM
	}
	return unix.Fchmod(fd, mode&0o7777)
}

// readString reads a path from another process's memory.
func readString(mem string, at uint64) (string, error) {
	f, err := os.Open(mem)
	if err != nil {
		return "", unix.EPERM
	}
	defer f.Close()
	var text []byte
	for page := make([]byte, 256); len(text) < unix.PathMax; {
		// What lies behind the string may not be readable: never cross a page.
		n, err := f.ReadAt(page[:256-int((at+uint64(len(text)))%256)], int64(at)+int64(len(text)))
		if n == 0 && err != nil {
			return "", unix.EFAULT
		}
		if head, _, ended := strings.Cut(string(page[:n]), "\x00"); ended {
			return string(text) + head, nil
		}
		text = append(text, page[:n]...)
	}
	return "", unix.ENAMETOOLONG
}

// readCaller reads the umask of a process, and whether it acts as root.
func readCaller(status string) (umask uint32, root bool, err error) {
	text, err := os.ReadFile(status)
	if err != nil {
		return 0, false, unix.ESRCH
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case key == "Umask" && len(fields) == 1:
			n, err := strconv.ParseUint(fields[0], 8, 32)
			if err != nil {
				return 0, false, unix.EPERM
			}
			umask = uint32(n)
		case key == "Uid" && len(fields) == 4:
			root = fields[3] == "0"
		}
	}
	return umask, root, nil
}
