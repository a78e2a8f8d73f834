package inspect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Options say how an image is opened.
type Options struct {
	Format  string   // instead of what its first bytes say; "" looks
	Backing []string // its backing file, that file's own, and so on
	// DataFile is the file of a qcow2 image that keeps its data in another.
	DataFile string
	// Extents are the files of a vmdk disk in several, found by their last names.
	Extents []string
	TempDir string // where a compressed image that cannot be read at random is unpacked; "" is the system's
	Limit   int64  // bytes of the largest disk that is unpacked; 0 is 16 TiB
}

// Alone tells that the image is one file: checkers of others can be given its name
// without reading what the image names.
func (o Options) Alone() bool {
	return len(o.Backing) == 0 && o.DataFile == "" && len(o.Extents) == 0
}

// Image is an open image.
type Image struct {
	report  Report
	disk    sparse.Image
	volumes []volume
	root    *mounted // the file systems joined; nil when none holds a system
	rootAt  int      // which volume holds "/"; -1: none
	close   []func() error
}

// volume is a part of the disk with what it holds.
type volume struct {
	Volume
	bytes  sparse.Image
	source tree.Source // nil: no files
}

// Open opens the image in a file or a block device.
func Open(path string, o Options) (*Image, error) {
	i := &Image{rootAt: -1}
	if err := i.open(path, o); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot read %s: %w", path, err), i.Close())
	}
	return i, nil
}

// Close lets go of the image. Nothing can be read from it afterwards.
func (i *Image) Close() error {
	var errs []error
	for _, c := range slices.Backward(i.close) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Report tells what is on the image.
func (i *Image) Report() *Report { return &i.report }

func (i *Image) open(path string, o Options) error {
	disk, err := i.openFormat(path, o)
	if err != nil {
		return err
	}
	i.read(disk)
	return nil
}

// read looks at a disk and all that is on it.
func (i *Image) read(disk sparse.Image) {
	i.disk = disk
	i.report.Volumes = []Volume{}
	i.readVolumes(disk)
	i.join()
	i.readSystem()
	i.readBoot(disk)
	for _, v := range i.volumes {
		i.report.Volumes = append(i.report.Volumes, v.Volume)
	}
}

// ErrKind is the error of Open for a directory or a device that is no disk.
var ErrKind = errors.New("it is neither a file nor a block device")

// openFormat opens the file, and those behind it.
func (i *Image) openFormat(path string, o Options) (sparse.Image, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice {
		return nil, ErrKind
	}
	file, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	i.close = append(i.close, file.Close)
	backing, err := i.openBacking(o)
	if err != nil {
		return nil, err
	}
	data, err := i.openData(o.DataFile)
	if err != nil {
		return nil, err
	}
	opened, err := format.Open(file, format.OpenOptions{
		Format: o.Format, Backing: backing, DataFile: data, Extent: i.extents(o.Extents), Dir: o.TempDir, Limit: o.Limit,
	})
	if err != nil {
		return nil, err
	}
	i.close = append(i.close, opened.Close)
	i.report.Path, i.report.Format = path, opened.Format
	i.report.FileSize, i.report.VirtualSize = file.Size(), opened.Image.Size()
	i.report.DiskUsage = usage(path, file.Size())
	for _, d := range opened.Details {
		i.report.Details = append(i.report.Details, Detail{d.Name, d.Value})
	}
	return opened.Image, nil
}

// openData opens the data file that the caller names, if any.
func (i *Image) openData(path string) (sparse.Image, error) {
	if path == "" {
		return nil, nil
	}
	file, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	i.close = append(i.close, file.Close)
	return file, nil
}

// extents gives a function that opens those of the caller's files whose last
// name a descriptor names; nil if there are none.
func (i *Image) extents(files []string) func(string) (sparse.Image, error) {
	if len(files) == 0 {
		return nil
	}
	return func(name string) (sparse.Image, error) {
		n := slices.IndexFunc(files, func(f string) bool { return filepath.Base(f) == filepath.Base(name) })
		if n < 0 {
			return nil, fmt.Errorf("the image keeps data in %q, which is not opened by itself: give it with --extent FILE", name)
		}
		return i.openData(files[n])
	}
}

// openBacking opens the chain that the caller names.
func (i *Image) openBacking(o Options) (sparse.Image, error) {
	if len(o.Backing) == 0 {
		return nil, nil
	}
	file, err := sparse.Open(o.Backing[0])
	if err != nil {
		return nil, err
	}
	i.close = append(i.close, file.Close)
	below, err := i.openBacking(Options{Backing: o.Backing[1:], TempDir: o.TempDir, Limit: o.Limit})
	if err != nil {
		return nil, err
	}
	opened, err := format.Open(file, format.OpenOptions{Backing: below, Dir: o.TempDir, Limit: o.Limit})
	if err != nil {
		return nil, fmt.Errorf("the backing file %s: %w", o.Backing[0], err)
	}
	i.close = append(i.close, opened.Close)
	return opened.Image, nil
}

// usage is what a file takes on its disk, its size where that is not told.
func usage(path string, size int64) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return size
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return size
}

// Find finds a path, without following a link that is its last part. A path is
// one of the machine, or VOLUME:PATH.
func (i *Image) Find(name string) (tree.Source, tree.Place, error) {
	source, path, err := i.source(name)
	if err != nil {
		return nil, tree.Place{}, err
	}
	place, err := tree.Find(source, path)
	return source, place, err
}

// Disk is the image as the bytes of a disk.
func (i *Image) Disk() sparse.Image { return i.disk }

// Part is a volume of the image with what it holds.
type Part struct {
	Volume
	Bytes  sparse.Image
	Source tree.Source // nil: no files that can be read
}

// Parts lists the volumes.
func (i *Image) Parts() []Part {
	var parts []Part
	for _, v := range i.volumes {
		parts = append(parts, Part{v.Volume, v.bytes, v.source})
	}
	return parts
}

func (i *Image) source(name string) (tree.Source, string, error) {
	if at, path, ok := strings.Cut(name, ":"); ok && !strings.HasPrefix(name, "/") {
		for _, v := range i.volumes {
			if v.Name != at {
				continue
			}
			if v.source == nil {
				return nil, "", fmt.Errorf("volume %s holds no files that can be read: %s", at, i.why(v))
			}
			return v.source, path, nil
		}
		return nil, "", fmt.Errorf("there is no volume %s; there are %s", at, strings.Join(i.names(), ", "))
	}
	if i.root == nil {
		return nil, "", fmt.Errorf("no root file system is found: write VOLUME:PATH; the volumes are %s", strings.Join(i.names(), ", "))
	}
	return i.root, name, nil
}

func (i *Image) why(v volume) string {
	switch {
	case v.Fault != "":
		return v.Fault
	case v.FileSystem != nil:
		return "it is " + v.FileSystem.Type
	}
	return "its content is not known"
}

func (i *Image) names() []string {
	var names []string
	for _, v := range i.volumes {
		names = append(names, v.Name)
	}
	return names
}

func (i *Image) fault(format string, args ...any) {
	i.report.Faults = append(i.report.Faults, fmt.Sprintf(format, args...))
}
