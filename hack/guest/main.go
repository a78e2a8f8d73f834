// Guest is the first and only program of the virtual machine in which
// pkg/judge/guest shows volumes to the kernel. It is no part of dibber.
//
// It loads the modules in /modules, mounts disks as the file /plan says, one a
// line, and writes what it saw as text to the disk whose serial number is
// "out". Then it turns the machine off. A line of the plan is the serial number
// of a disk, the type to mount it as, what to do, and options of the mount:
//
//	list   mounts it for reading and lists every name
//	fill   mounts it for writing, makes files of every kind, and lists it
//	change mounts it for writing, makes and removes files, and lists nothing
//	grow   mounts it for writing, grows it to its disk and makes a file
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mountPoint = "/mnt"

func main() {
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", m[1], err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	out, err := openDisk("out")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	plan, err := os.ReadFile("/plan")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(plan)) {
		words := append(strings.Fields(line), "")
		fmt.Fprintf(w, "volume %s\n", words[0])
		if err := volume(w, words[0], mount{kind: words[1], options: words[3]}, words[2]); err != nil {
			fmt.Fprintf(w, "error %q\n", err)
		}
		fmt.Println("guest: seen", words[0])
	}
	fmt.Fprintln(w, "end")
	if err := w.Flush(); err != nil {
		return err
	}
	return out.Sync()
}

// loadModules loads /modules/* in the order of their names.
func loadModules() error {
	files, err := os.ReadDir("/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		m, err := os.Open(filepath.Join("/modules", f.Name()))
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(m.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading %s: %w", f.Name(), err)
		}
		m.Close()
	}
	return nil
}

// openDisk opens the disk with a serial number, which may take a moment to
// appear.
func openDisk(serial string) (*os.File, error) {
	for range 100 {
		names, err := filepath.Glob("/sys/block/*/serial")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if text, _ := os.ReadFile(name); strings.TrimSpace(string(text)) == serial {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_RDWR, 0)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("no disk has the serial number %q", serial)
}

// mount says how a volume is mounted.
type mount struct {
	kind, options string
	readOnly      bool
}

// with mounts a disk, does something there and unmounts it.
func (m mount) with(disk *os.File, do func() error) (err error) {
	if err := os.MkdirAll(mountPoint, 0o755); err != nil {
		return err
	}
	var flags uintptr
	if m.readOnly {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount(disk.Name(), mountPoint, m.kind, flags, m.options); err != nil {
		return fmt.Errorf("mounting as %s: %w", m.kind, err)
	}
	defer func() {
		if e := unix.Unmount(mountPoint, 0); err == nil && e != nil {
			err = fmt.Errorf("unmounting: %w", e)
		}
	}()
	return do()
}

func volume(w io.Writer, serial string, m mount, action string) error {
	disk, err := openDisk(serial)
	if err != nil {
		return err
	}
	defer disk.Close()
	switch action {
	case "list":
		m.readOnly = true
		return m.with(disk, func() error { return list(w) })
	case "fill":
		if err := m.with(disk, fill); err != nil {
			return err
		}
		m.readOnly = true
		return m.with(disk, func() error { return list(w) })
	case "change":
		return m.with(disk, change)
	case "grow":
		return m.with(disk, func() error { return grow(w, disk) })
	}
	return fmt.Errorf("unknown action %q", action)
}

func list(w io.Writer) error {
	l := lister{linked: map[uint64]string{}, buf: make([]byte, 64<<10)}
	return filepath.WalkDir(mountPoint, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := l.describe(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		_, err = fmt.Fprintf(w, "%q %s\n", "/"+strings.TrimPrefix(strings.TrimPrefix(path, mountPoint), "/"), line)
		return err
	})
}

// lister describes files.
type lister struct {
	linked map[uint64]string // what was said of inodes with more names
	buf    []byte            // for attributes: the most that the kernel gives
}

// describe says all about one name, in one line.
func (l *lister) describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	if line, ok := l.linked[st.Ino]; ok {
		return line, nil
	}
	line, err := l.describeInode(path, &st)
	if err == nil && st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		l.linked[st.Ino] = line
	}
	return line, err
}

func (l *lister) describeInode(path string, st *unix.Stat_t) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "mode=%o owner=%d:%d links=%d", st.Mode, st.Uid, st.Gid, st.Nlink)
	if st.Atim != st.Mtim || st.Ctim != st.Mtim || st.Mtim.Nsec != 0 {
		fmt.Fprintf(&b, " times=%v,%v,%v", st.Atim, st.Mtim, st.Ctim)
	}
	fmt.Fprintf(&b, " mtime=%d", st.Mtim.Sec)
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		fmt.Fprintf(&b, " device=%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFLNK:
		var target string
		target, err = os.Readlink(path)
		fmt.Fprintf(&b, " target=%q", target)
	case unix.S_IFREG:
		err = describeContent(&b, path, st.Size)
	}
	if err == nil {
		err = l.describeAttributes(&b, path)
	}
	return b.String(), err
}

// describeContent gives a file's size, where its data lies and the digest of
// the data.
func describeContent(b *strings.Builder, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	pieces, err := dataOf(f, size)
	if err != nil {
		return err
	}
	content, places := sha256.New(), sha256.New()
	for _, p := range pieces {
		if _, err := io.Copy(content, io.NewSectionReader(f, p.from, p.to-p.from)); err != nil {
			return err
		}
		fmt.Fprintf(places, "%d+%d ", p.from, p.to-p.from)
	}
	fmt.Fprintf(b, " size=%d data=%d,%x content=%x", size, len(pieces), places.Sum(nil)[:6], content.Sum(nil)[:12])
	return nil
}

// piece is a part of a file that is no hole.
type piece struct{ from, to int64 }

// dataOf finds the data of a file before any of it is read: reserved room that is
// read ahead counts as data.
func dataOf(f *os.File, size int64) ([]piece, error) {
	var out []piece
	for at := int64(0); at < size; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		if at, err = f.Seek(start, unix.SEEK_HOLE); err != nil {
			return nil, err
		}
		out = append(out, piece{start, at})
	}
	return out, nil
}

func (l *lister) describeAttributes(b *strings.Builder, path string) error {
	n, err := unix.Llistxattr(path, l.buf)
	if err != nil {
		return err
	}
	names := strings.FieldsFunc(string(l.buf[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	for _, name := range names {
		n, err := unix.Lgetxattr(path, name, l.buf)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		text := hex.EncodeToString(l.buf[:n])
		if n > 64 {
			sum := sha256.Sum256(l.buf[:n])
			text = fmt.Sprintf("%d,%x", n, sum[:12])
		}
		fmt.Fprintf(b, " %q=%s", name, text)
	}
	return nil
}

// change uses a mounted volume a little: files, names and directories come and
// go.
func change() error {
	dir := filepath.Join(mountPoint, "changed")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range 500 {
		name := filepath.Join(dir, fmt.Sprint("file-", i))
		if err := os.WriteFile(name, []byte(strings.Repeat("x", i*50)), 0o600); err != nil {
			return err
		}
		if i%3 == 0 {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	if err := unix.Setxattr(filepath.Join(dir, "file-1"), "user.note", []byte("changed"), 0); err != nil {
		return err
	}
	entries, err := os.ReadDir(mountPoint)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "changed" || e.Name() == "lost+found" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(mountPoint, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// resizeFS is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64).
const resizeFS = 0x40086610

func grow(w io.Writer, disk *os.File) error {
	end, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	root, err := os.Open(mountPoint)
	if err != nil {
		return err
	}
	defer root.Close()
	var before, after unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &before); err != nil {
		return err
	}
	blocks := uint64(end) / uint64(before.Bsize)
	if err := ioctl(root, resizeFS, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("growing to %d blocks: %w", blocks, err)
	}
	if err := unix.Fstatfs(int(root.Fd()), &after); err != nil {
		return err
	}
	fmt.Fprintf(w, "grown from %d to %d blocks\n", before.Blocks, after.Blocks)
	return os.WriteFile(filepath.Join(mountPoint, "grown"), []byte(strings.Repeat("grown", 1<<20)), 0o644)
}
