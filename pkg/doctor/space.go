package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a directory that a build writes to.
type Dir struct {
	Name  string // data, cache, output
	Path  string // need not exist yet
	Store bool   // working containers live here
}

// Space is what a file system has.
type Space struct {
	Type     int64 // magic number, of linux/magic.h
	Free     int64 // bytes that the caller may use
	Writable bool  // the caller may make files in the directory
}

const (
	gib = 1 << 30

	failBelow = 3 * gib // a Debian tree, its packages and an image of it
	warnBelow = 8 * gib
)

// kernelSpace asks about the nearest directory that exists.
func kernelSpace(dir string) (Space, error) {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return Space{}, fmt.Errorf("cannot look at %s: %w", dir, err)
		}
		return Space{
			Type:     int64(fs.Type),
			Free:     int64(fs.Bavail) * int64(fs.Bsize),
			Writable: unix.Access(dir, unix.W_OK|unix.X_OK) == nil,
		}, nil
	}
}

// store is the directory of working containers.
func (m *Machine) store() string {
	for _, p := range m.Dirs {
		if p.Store {
			return p.Path
		}
	}
	return ""
}

func (c *checkup) dirs() {
	for _, p := range c.m.Dirs {
		s, err := c.m.Space(p.Path)
		if err != nil {
			c.fail(p.Name, err.Error(), elsewhere(p.Name))
			continue
		}
		c.space(p, s)
		if p.Store {
			c.fileSystem(p, s)
		}
	}
}

func (c *checkup) space(p Dir, s Space) {
	detail := fmt.Sprintf("%s: %.1f GiB free", p.Path, float64(s.Free)/gib)
	switch {
	case !s.Writable && p.Name == "output": // often just where the user happens to be
		c.warn(p.Name, "you may not write to "+p.Path, elsewhere(p.Name))
	case !s.Writable:
		c.fail(p.Name, "you may not write to "+p.Path, elsewhere(p.Name))
	case s.Free < failBelow:
		c.fail(p.Name, fmt.Sprintf("%s, and a build needs %d", detail, failBelow/gib), elsewhere(p.Name))
	case s.Free < warnBelow:
		c.warn(p.Name, fmt.Sprintf("%s; with less than %d large builds fail", detail, warnBelow/gib), elsewhere(p.Name))
	default:
		c.ok(p.Name, detail)
	}
}

func elsewhere(name string) string {
	switch name {
	case "data":
		return "export XDG_DATA_HOME=/ANOTHER/DIRECTORY # or make room: dibber clean"
	case "cache":
		return "export XDG_CACHE_HOME=/ANOTHER/DIRECTORY # or make room: dibber clean --all"
	}
	return "dibber build -o /ANOTHER/DIRECTORY/NAME ..."
}

// fileSystem judges what the store lies on. Overlay itself is judged by the
// trial; what is refused here keeps no owners of files, or no names as Linux
// has them, so that not even plain copies would do.
func (c *checkup) fileSystem(p Dir, s Space) {
	const name = "filesystem"
	kind, refused := fileSystemName(s.Type)
	switch {
	case refused && !c.trial.worked():
		c.fail(name, fmt.Sprintf("%s is on %s, which cannot hold containers", p.Path, kind), "export XDG_DATA_HOME=/ANOTHER/DIRECTORY # on a local disk")
	case c.trial.worked() && c.trial.Driver == "overlay":
		c.ok(name, kind+" takes overlay")
	default:
		c.ok(name, kind)
	}
}

// fileSystemName knows the magic numbers of linux/magic.h, and of file systems
// that are kept elsewhere.
func fileSystemName(magic int64) (name string, refused bool) {
	switch uint32(magic) {
	case 0xef53:
		return "ext4", false
	case 0x58465342:
		return "xfs", false
	case 0x9123683e:
		return "btrfs", false
	case 0x01021994:
		return "tmpfs", false
	case 0xf2f52010:
		return "f2fs", false
	case 0x2fc12fc1:
		return "zfs", false
	case 0x794c7630:
		return "overlay", false
	case 0xca451a4e:
		return "bcachefs", false
	case 0x6969:
		return "NFS", true
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "SMB", true
	case 0x01021997:
		return "9p", true
	case 0x65735546:
		return "FUSE", true
	case 0x00c36400:
		return "CephFS", true
	case 0x0bd00bd0:
		return "Lustre", true
	case 0x5346414f:
		return "AFS", true
	case 0x4d44:
		return "FAT", true
	case 0x2011bab0:
		return "exFAT", true
	case 0x5346544e, 0x7366746e:
		return "NTFS", true
	case 0xf15f:
		return "eCryptfs", true
	}
	return fmt.Sprintf("a file system of type %#x", uint32(magic)), false
}
