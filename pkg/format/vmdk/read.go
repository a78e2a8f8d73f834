package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// maxDescriptor is the longest text that is read, in bytes.
const maxDescriptor = 1 << 20

// Info is what a file says of itself.
type Info struct {
	CreateType   string // "monolithicSparse", "streamOptimized", ...
	Size         int64  // of the disk, in bytes
	CID          uint32 // of the content
	AdapterType  string
	HWVersion    string
	ToolsVersion string
	Cylinders    int64
	Heads        int64
	PerTrack     int64    // sectors
	GrainSize    int64    // bytes; 0 when the disk consists of several files
	Grains       int64    // in the file
	Compressed   bool     // the grains are
	Unclean      bool     // the file was not closed well
	Extents      []string // the names of the files that the descriptor asks for
}

// OpenOptions says how [Open] works. With the zero value a disk must be whole
// in its one file.
type OpenOptions struct {
	// Extent opens a file that a descriptor names. Whoever wrote the descriptor
	// chose the name: it may be any path. Without it, disks that consist of
	// several files are refused by name.
	Extent func(name string) (sparse.Image, error)
}

// Image is the disk in a VMDK file.
type Image struct {
	Info Info
	disk sparse.Image
}

// Size is the size of the disk in bytes.
func (v *Image) Size() int64 { return v.disk.Size() }

// Extents are the runs of data: the grains in the file, but for its holes.
func (v *Image) Extents() []sparse.Extent { return v.disk.Extents() }

// ReadAt reads from the disk.
func (v *Image) ReadAt(p []byte, off int64) (int, error) { return v.disk.ReadAt(p, off) }

// Open opens the disk in file, which must be open as long as the disk is read:
// a monolithicSparse or streamOptimized file or, when the options say how to
// open others, a descriptor of a disk in several files. Parents, the sparse
// extents of ESX and single extents of a disk in several files are refused.
//
// A file of another format gives [ErrNone].
func Open(file sparse.Image, o OpenOptions) (*Image, error) {
	img, err := open(file, o)
	if err != nil {
		return nil, fmt.Errorf("cannot open vmdk: %w", err)
	}
	return img, nil
}

func open(file sparse.Image, o OpenOptions) (*Image, error) {
	head := make([]byte, min(sectorSize, file.Size()))
	if err := sparse.ReadFull(file, head, 0); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	switch {
	case strings.HasPrefix(strings.ToLower(string(head)), "# disk descriptorfile"):
		d, err := readDescriptor(file, 0, min(file.Size(), maxDescriptor))
		if err != nil {
			return nil, err
		}
		return openSeveral(d, o)
	case len(head) < sectorSize:
		return nil, ErrNone
	}
	if err := checkKind(head); err != nil {
		return nil, err
	}
	h := decodeHeader(head)
	d, err := embeddedDescriptor(file, h)
	if err != nil {
		return nil, err
	}
	if d.createType == "" && len(d.extents) == 0 {
		return nil, errors.New("it is one of several files of a disk; open the file that describes the disk")
	}
	if h.capacity == 0 && len(d.extents) > 0 && d.extents[0].sectors > 0 || len(d.extents) > 1 {
		return openSeveral(d, o)
	}
	if err := d.standsAlone(); err != nil {
		return nil, err
	}
	e, err := openExtent(file)
	if err != nil {
		return nil, err
	}
	img := &Image{disk: e, Info: newInfo(d, e.size)}
	img.Info.GrainSize, img.Info.Grains = e.grain, e.grains
	img.Info.Compressed, img.Info.Unclean = e.compressed, e.unclean
	return img, nil
}

// checkKind refuses sectors that begin no sparse extent that can be read.
func checkKind(head []byte) error {
	switch {
	case string(head[:4]) == magic:
		return nil
	case string(head[:4]) == magicCOWD:
		return errors.New("it is a COWD extent of ESX, which belongs to a descriptor and often to a parent; convert the disk that it belongs to")
	case binary.LittleEndian.Uint64(head) == magicSESparse:
		return errors.New("it is a seSparse extent of ESX, which belongs to a descriptor and a parent; convert the disk that it belongs to")
	}
	return ErrNone
}

func embeddedDescriptor(file sparse.Image, h *header) (*descriptor, error) {
	size := uint64(file.Size())
	if h.descriptorOffset > size/sectorSize || h.descriptorSize > size/sectorSize-h.descriptorOffset {
		return nil, errors.New("the descriptor lies past the end of the file, which is cut off")
	}
	return readDescriptor(file, int64(h.descriptorOffset)*sectorSize, min(int64(h.descriptorSize)*sectorSize, maxDescriptor))
}

func readDescriptor(file sparse.Image, off, n int64) (*descriptor, error) {
	b := make([]byte, n)
	if err := sparse.ReadFull(file, b, off); err != nil {
		return nil, fmt.Errorf("reading the descriptor: %w", err)
	}
	return decodeDescriptor(string(b))
}

func newInfo(d *descriptor, size int64) Info {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(d.values[key], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	i := Info{
		CreateType:   d.createType,
		Size:         size,
		CID:          d.cid,
		AdapterType:  d.values["ddb.adapterType"],
		HWVersion:    d.values["ddb.virtualHWVersion"],
		ToolsVersion: d.values["ddb.toolsVersion"],
		Cylinders:    number("ddb.geometry.cylinders"),
		Heads:        number("ddb.geometry.heads"),
		PerTrack:     number("ddb.geometry.sectors"),
	}
	return i
}

// openSeveral joins the files that a descriptor names.
func openSeveral(d *descriptor, o OpenOptions) (*Image, error) {
	if err := d.standsAlone(); err != nil {
		return nil, err
	}
	var names []string
	var parts []sparse.Part
	var size int64
	for _, line := range d.extents {
		if line.kind != "ZERO" {
			if names = append(names, line.name); o.Extent == nil {
				return nil, fmt.Errorf("it describes a disk (%s) that lies in other files, the first is %q; convert it to one file", d.createType, line.name)
			}
			part, err := line.open(o)
			if err != nil {
				return nil, fmt.Errorf("extent %q: %w", line.name, err)
			}
			parts = append(parts, sparse.Part{Offset: size, Image: part})
		}
		if size += line.sectors * sectorSize; size > 1<<62 {
			return nil, errors.New("the descriptor is damaged: the disk cannot be that large")
		}
	}
	if len(d.extents) == 0 {
		return nil, errors.New("the descriptor is damaged: it describes no extents")
	}
	disk, err := sparse.Join(size, parts...)
	if err != nil {
		return nil, err
	}
	img := &Image{disk: disk, Info: newInfo(d, size)}
	img.Info.Extents = names
	return img, nil
}

// open opens one file of a disk. What lies behind its end is no part of it.
func (e extentLine) open(o OpenOptions) (sparse.Image, error) {
	switch e.kind {
	case "SPARSE", "FLAT", "VMFS":
	default:
		return nil, fmt.Errorf("extents of type %s are not read", e.kind)
	}
	file, err := o.Extent(e.name)
	if err != nil {
		return nil, err
	}
	off := e.offset * sectorSize
	if e.kind == "SPARSE" {
		head := make([]byte, sectorSize)
		if file.Size() < sectorSize {
			return nil, ErrNone
		}
		if err := sparse.ReadFull(file, head, 0); err != nil {
			return nil, err
		}
		if err := checkKind(head); err != nil {
			return nil, err
		}
		if file, err = openExtent(file); err != nil {
			return nil, err
		}
		off = 0
	}
	part, err := sparse.Section(file, off, e.sectors*sectorSize)
	if err != nil {
		return nil, fmt.Errorf("it is cut off: %w", err)
	}
	return part, nil
}
