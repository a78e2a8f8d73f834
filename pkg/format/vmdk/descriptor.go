package vmdk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxExtents is how many files a disk that is read may consist of.
const maxExtents = 4096

// encodeDescriptor is the text that describes a disk in one file.
func encodeDescriptor(l layout, o Options) []byte {
	kind, heads := "monolithicSparse", int64(255)
	if o.StreamOptimized {
		kind = "streamOptimized"
	}
	if o.AdapterType == "ide" {
		heads = 16
	}
	const perTrack = 63
	text := fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=%08x
createType="%s"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "%s"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "%s"
ddb.toolsVersion = "%s"
`, o.CID, uint32(noParent), kind, l.sectors, o.Name,
		o.HWVersion, l.sectors/(heads*perTrack), heads, perTrack, o.AdapterType, o.ToolsVersion)
	b := make([]byte, descriptorSectors*sectorSize)
	copy(b, text)
	return b
}

// descriptor is what a text says that describes a disk.
type descriptor struct {
	createType string
	cid        uint32
	parentCID  uint32
	extents    []extentLine
	values     map[string]string // "ddb." and the like
}

// extentLine is one line of the section "Extent description".
type extentLine struct {
	access  string
	sectors int64
	kind    string // SPARSE, FLAT, ZERO, VMFS, ...
	name    string // of the file
	offset  int64  // sectors, in a file that is not sparse
}

func decodeDescriptor(text string) (*descriptor, error) {
	text, _, _ = strings.Cut(text, "\x00")
	d := &descriptor{cid: noParent, parentCID: noParent, values: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch first, _, _ := strings.Cut(line, " "); first {
		case "RW", "RDONLY", "NOACCESS":
			e, err := decodeExtent(line)
			if err != nil {
				return nil, fmt.Errorf("the descriptor is damaged: line %q: %w", line, err)
			}
			if d.extents = append(d.extents, e); len(d.extents) > maxExtents {
				return nil, fmt.Errorf("the disk consists of more than %d files", maxExtents)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if err := d.set(strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"`)); err != nil {
			return nil, fmt.Errorf("the descriptor is damaged: line %q: %w", line, err)
		}
	}
	return d, nil
}

func (d *descriptor) set(key, value string) error {
	switch key {
	case "createType":
		d.createType = value
	case "CID", "parentCID":
		n, err := strconv.ParseUint(value, 16, 32)
		if err != nil {
			return errors.New("this is no CID")
		}
		if key == "CID" {
			d.cid = uint32(n)
		} else {
			d.parentCID = uint32(n)
		}
	default:
		d.values[key] = value
	}
	return nil
}

// decodeExtent reads: access, sectors, kind, and for most kinds the name of a
// file in quotes and where the extent begins in it.
func decodeExtent(line string) (extentLine, error) {
	head, rest, named := strings.Cut(line, `"`)
	words := strings.Fields(head)
	if len(words) != 3 {
		return extentLine{}, errors.New("want access, sectors and type")
	}
	e := extentLine{access: words[0], kind: words[2]}
	var err error
	if e.sectors, err = parseSectors(words[1]); err != nil {
		return e, err
	}
	if !named {
		if e.kind != "ZERO" {
			return e, errors.New("the file has no name")
		}
		return e, nil
	}
	name, rest, ok := strings.Cut(rest, `"`)
	if !ok {
		return e, errors.New("the name of the file has no end")
	}
	e.name = name
	if words := strings.Fields(rest); len(words) > 0 {
		e.offset, err = parseSectors(words[0])
	}
	return e, err
}

// parseSectors reads a number of sectors that fit into 62 bits as bytes.
func parseSectors(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<62/sectorSize {
		return 0, fmt.Errorf("%q is no number of sectors", s)
	}
	return n, nil
}

// standsAlone says why the disk cannot be read without other disks.
func (d *descriptor) standsAlone() error {
	if d.parentCID == noParent {
		return nil
	}
	if hint := d.values["parentFileNameHint"]; hint != "" {
		return fmt.Errorf("its data lie partly in a parent disk, %q; merge them first", hint)
	}
	return errors.New("its data lie partly in a parent disk; merge them first")
}
