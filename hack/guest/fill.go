package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is the unit of holes; no file system of the plan has larger blocks.
const block = 4096

// fill makes what drives a file system into every form that it has for
// directories, maps of content and attributes. It leaves out what the file system
// refuses to hold.
func fill() error {
	source := rand.NewChaCha8([32]byte{1})
	f := filler{source: source, random: rand.New(source)}
	for _, part := range []func(){f.contents, f.holes, f.shared, f.directories, f.specials, f.attributes, f.attributesBetween, f.subvolumes} {
		if part(); f.err != nil {
			return f.err
		}
	}
	return nil
}

// filler makes files; its first fault stays.
type filler struct {
	source *rand.ChaCha8
	random *rand.Rand // of the source
	err    error
}

// try keeps a fault, but for one that says that a file system has no such thing.
func (f *filler) try(what string, err error) bool {
	for _, no := range []error{unix.ENOTSUP, unix.EPERM, unix.E2BIG, unix.ENOSPC, unix.ENOTTY, unix.EINVAL, unix.ERANGE, unix.EMLINK, unix.ENAMETOOLONG} {
		if errors.Is(err, no) {
			return false
		}
	}
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", what, err)
	}
	return err == nil
}

// path is a path of the volume, whose directory is made.
func (f *filler) path(name string) string {
	p := filepath.Join(mountPoint, name)
	f.try(name, os.MkdirAll(filepath.Dir(p), 0o755))
	return p
}

// noise does not compress.
func (f *filler) noise(n int) []byte {
	b := make([]byte, n)
	_, _ = f.source.Read(b) // always succeeds
	return b
}

// text compresses.
func (f *filler) text(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d %s\n", f.random.IntN(1000), strings.Repeat("text ", f.random.IntN(9)))
	}
	return b.Bytes()[:n]
}

func (f *filler) file(name string, content []byte) {
	f.try(name, os.WriteFile(f.path(name), content, 0o640))
}

func (f *filler) contents() {
	for _, n := range []int{0, 1, 60, 61, 150, 1000, 2000, 4095, 4096, 4097, 131072, 131073, 700_000} {
		f.file(fmt.Sprintf("contents/text-%d", n), f.text(n))
		f.file(fmt.Sprintf("contents/noise-%d", n), f.noise(n))
	}
	mixed := append(append(f.text(200_000), f.noise(200_000)...), make([]byte, 200_000)...)
	f.file("contents/mixed", append(mixed, f.text(77)...))
}

// holes makes files whose map has many parts.
func (f *filler) holes() {
	f.sparse("holes/every-other", func(file *os.File) {
		for k := range int64(800) {
			_, err := file.WriteAt(f.noise(100), 2*block*k)
			f.try("every-other", err)
		}
	})
	f.sparse("holes/backwards", func(file *os.File) {
		for k := range int64(200) {
			_, err := file.WriteAt(f.text(block), (200-k)*3*block)
			f.try("backwards", err)
		}
	})
	f.sparse("holes/far", func(file *os.File) {
		_, err := file.WriteAt([]byte("far"), 1<<32-100)
		f.try("far", err)
		f.try("far", file.Truncate(1<<32-1))
	})
	f.sparse("holes/only", func(file *os.File) { f.try("only", file.Truncate(12345)) })
	f.sparse("holes/punched", func(file *os.File) {
		_, err := file.WriteAt(f.text(900_000), 0)
		f.try("punched", err)
		f.try("punched", file.Sync())
		for k := range int64(9) {
			f.try("punched", unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, k*90_000+5000, 20_000))
		}
	})
	f.sparse("holes/reserved", func(file *os.File) {
		f.try("reserved", unix.Fallocate(int(file.Fd()), 0, 0, 1<<20))
		_, err := file.WriteAt(f.text(20_000), 300_000)
		f.try("reserved", err)
		f.try("reserved", unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 1<<20, 1<<20))
	})
}

func (f *filler) sparse(name string, write func(*os.File)) {
	file, err := os.Create(f.path(name))
	if !f.try(name, err) {
		return
	}
	write(file)
	f.try(name, file.Sync())
	f.try(name, file.Close())
}

// shared makes files that have content in common.
func (f *filler) shared() {
	f.file("shared/source", append(f.text(500_000), f.noise(500_000)...))
	source, err := os.Open(f.path("shared/source"))
	if !f.try("shared", err) {
		return
	}
	defer source.Close()
	f.sparse("shared/whole", func(file *os.File) {
		f.try("shared/whole", unix.IoctlFileClone(int(file.Fd()), int(source.Fd())))
	})
	f.sparse("shared/part", func(file *os.File) {
		_, err := file.WriteAt(f.noise(300_000), 0)
		f.try("shared/part", err)
		f.try("shared/part", unix.IoctlFileCloneRange(int(file.Fd()), &unix.FileCloneRange{
			Src_fd: int64(source.Fd()), Src_offset: 20 * block, Src_length: 90 * block, Dest_offset: 10 * block,
		}))
		_, err = file.WriteAt(f.text(9000), 50*block+100)
		f.try("shared/part", err)
	})
}

func (f *filler) directories() {
	for _, n := range []int{1, 5, 40, 300, 1500} {
		dir := fmt.Sprintf("directories/of-%d", n)
		for k := range n {
			f.file(fmt.Sprintf("%s/a file with the number %d %s", dir, k, strings.Repeat("é", k%60)), nil)
		}
		for k := 0; k < n; k += 3 {
			f.try(dir, os.Remove(f.path(fmt.Sprintf("%s/a file with the number %d %s", dir, k, strings.Repeat("é", k%60)))))
		}
		f.file(dir+"/"+strings.Repeat("n", 255), nil)
	}
	deep := "directories"
	for range 100 {
		deep += "/deep"
	}
	f.file(deep+"/file", []byte("deep"))
}

func (f *filler) specials() {
	for k, dev := range []struct {
		kind         uint32
		major, minor uint32
	}{{unix.S_IFCHR, 1, 3}, {unix.S_IFBLK, 8, 300}, {unix.S_IFCHR, 4095, 262143}, {unix.S_IFIFO, 0, 0}} {
		name := fmt.Sprintf("specials/%d", k)
		f.try(name, unix.Mknod(f.path(name), dev.kind|0o600, int(unix.Mkdev(dev.major, dev.minor))))
	}
	for _, n := range []int{1, 59, 60, 61, 400, 1000, 1023, 4000} {
		name := fmt.Sprintf("specials/target-%d", n)
		f.try(name, os.Symlink(strings.Repeat("t", n), f.path(name)))
	}
	for k := range 300 {
		f.try("links", os.Link(f.path("contents/text-1000"), f.path(fmt.Sprintf("links/%s-%d", strings.Repeat("l", k%100), k))))
	}
	for k, at := range []int64{-1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1 << 33} {
		name := fmt.Sprintf("times/%d", k)
		f.file(name, nil)
		f.try(name, os.Chtimes(f.path(name), time.Unix(at, 0), time.Unix(at, 0)))
		f.try(name, os.Lchown(f.path(name), k*700_000_000, 1<<32-2))
		f.try(name, unix.Chmod(f.path(name), uint32(k)<<9|0o751))
	}
}

func (f *filler) attributes() {
	for _, n := range []int{0, 1, 60, 300, 1000, 2000, 3000, 4000, 4096, 5000, 20_000, 65_536} {
		name := fmt.Sprintf("attributes/of-%d-bytes", n)
		f.file(name, nil)
		f.attribute(name, "user.large", f.noise(n))
		f.attribute(name, "trusted.beside", []byte("small"))
	}
	for _, n := range []int{2, 10, 100, 500} {
		name := fmt.Sprintf("attributes/many-%d", n)
		f.file(name, f.text(10_000))
		for k := range n {
			f.attribute(name, fmt.Sprintf("user.attribute-%d", k), f.text(k%200))
		}
		for k := 0; k < n; k += 4 {
			f.try(name, drop(unix.Removexattr(f.path(name), fmt.Sprintf("user.attribute-%d", k)), unix.ENODATA))
		}
	}
	f.try("attributes", os.MkdirAll(f.path("attributes/directory"), 0o755))
	f.attribute("attributes/directory", "user.of-a-directory", f.text(3000))
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255}
	for k := range byte(30) {
		acl = append(acl, 2, 0, 5, 0, k, 1, 0, 0)
	}
	acl = append(acl, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255)
	f.attribute("attributes/directory", "system.posix_acl_default", acl)
	f.file("attributes/directory/inherits", nil)
	f.attribute("attributes/directory", "system.posix_acl_access", acl)
	f.attribute("attributes/directory", "security.capability", []byte{1, 0, 0, 2, 0, 32, 19: 0})
}

// drop takes an error for none.
func drop(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func (f *filler) attribute(name, attribute string, value []byte) {
	f.try(name+": "+attribute, unix.Lsetxattr(f.path(name), attribute, value, 0))
}

// attributesBetween has attributes and content take room in turn, so that the
// maps of both are long.
func (f *filler) attributesBetween() {
	f.sparse("attributes/between", func(file *os.File) {
		for k := range 120 {
			_, err := file.WriteAt(f.noise(block), int64(2*k)*block)
			f.try("attributes/between", err)
			f.try("attributes/between", file.Sync())
			f.try("attributes/between", unix.Fsetxattr(int(file.Fd()), fmt.Sprintf("user.attribute-%d", k), f.noise(6000), 0))
		}
	})
}

// Requests of btrfs: BTRFS_IOC_SUBVOL_CREATE, _IOW(0x94, 14, struct
// btrfs_ioctl_vol_args), and BTRFS_IOC_SNAP_CREATE, _IOW(0x94, 1, same).
const (
	subvolCreate = 0x5000940e
	snapCreate   = 0x50009401
)

// volumeArgs is struct btrfs_ioctl_vol_args.
type volumeArgs struct {
	fd   int64
	name [4088]byte
}

// subvolumes makes two where there can be any, one the copy of the other.
func (f *filler) subvolumes() {
	root, err := os.Open(mountPoint)
	if !f.try("subvolumes", err) {
		return
	}
	defer root.Close()
	args := volumeArgs{}
	copy(args.name[:], "subvolume")
	if !f.try("subvolume", ioctl(root, subvolCreate, unsafe.Pointer(&args))) {
		return
	}
	f.file("subvolume/file", f.text(50_000))
	source, err := os.Open(f.path("subvolume"))
	if !f.try("snapshot", err) {
		return
	}
	defer source.Close()
	args = volumeArgs{fd: int64(source.Fd())}
	copy(args.name[:], "snapshot")
	f.try("snapshot", ioctl(root, snapCreate, unsafe.Pointer(&args)))
	f.file("snapshot/another", []byte("of the snapshot alone"))
}
