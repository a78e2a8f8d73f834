package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Options are what a group has besides its layout.
type Options struct {
	Time int64 // of making, in seconds since the epoch
}

// Encode gives the bytes of every physical volume of a group, in the order of
// its members. volumes are the contents of the logical volumes by their index
// in g.Volumes; each may be shorter than its volume, and what is missing is
// empty. Identify must have given UUIDs to the plan.
func Encode(g *layout.Group, volumes map[int]sparse.Image, o Options) ([]sparse.Image, error) {
	name := "physical volume " + g.Members[0].PhysicalVolume.Name
	if g.VolumeGroup != nil {
		name = "volume group " + g.VolumeGroup.Name
	}
	for _, m := range g.Members {
		if plainID(m.PhysicalVolume.UUID) == "" {
			return nil, fmt.Errorf("cannot make %s: physical volume %s: %w", name, m.PhysicalVolume.Name, errNoUUID)
		}
	}
	e := &encoder{group: g, pieces: make([][]sparse.Part, len(g.Members))}
	var members []sparse.Image
	err := e.content(volumes)
	if err == nil {
		members, err = e.members(o)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make %s: %w", name, err)
	}
	return members, nil
}

type encoder struct {
	group  *layout.Group
	pieces [][]sparse.Part // of the contents, by member
}

// content cuts the contents into the segments of their volumes.
func (e *encoder) content(volumes map[int]sparse.Image) error {
	g := e.group
	for i, v := range g.Volumes {
		img := volumes[i]
		if img == nil && v.LogicalVolume.FileSystem != nil {
			return fmt.Errorf("logical volume %s has no content for its %s", v.LogicalVolume.Name, v.LogicalVolume.FileSystem.Type)
		}
		if img == nil {
			continue
		}
		if img.Size() > g.Length(v) {
			return fmt.Errorf("the content of logical volume %s has %d bytes and its place %d", v.LogicalVolume.Name, img.Size(), g.Length(v))
		}
		at := int64(0)
		for _, s := range v.Segments {
			n := min(s.Count*g.ExtentSize, img.Size()-at)
			if n <= 0 {
				break
			}
			piece, err := sparse.Section(img, at, n)
			if err != nil {
				return err
			}
			e.pieces[s.Member] = append(e.pieces[s.Member], sparse.Part{
				Offset: g.Members[s.Member].DataStart + s.First*g.ExtentSize, Image: piece,
			})
			at += n
		}
	}
	for i := range volumes {
		if i < 0 || i >= len(g.Volumes) {
			return fmt.Errorf("internal error: a content for volume %d of %d", i, len(g.Volumes))
		}
	}
	return nil
}

// members joins labels, metadata and contents.
func (e *encoder) members(o Options) ([]sparse.Image, error) {
	var text []byte
	if e.group.VolumeGroup != nil {
		var err error
		if text, err = metadata(e.group, o.Time); err != nil {
			return nil, err
		}
	}
	var out []sparse.Image
	for i, m := range e.group.Members {
		area, err := encodeArea(m, text)
		if err != nil {
			return nil, err
		}
		parts := append(e.pieces[i],
			sparse.Part{Offset: m.LabelSector * sectorSize, Image: sparse.Bytes(encodeLabel(m, text != nil))},
			sparse.Part{Offset: pageSize, Image: sparse.Bytes(area)})
		view, err := sparse.Join(m.Length, parts...)
		if err != nil {
			return nil, fmt.Errorf("physical volume %s: %w", m.PhysicalVolume.Name, err)
		}
		out = append(out, view)
	}
	return out, nil
}

// areaSize is what the metadata area of a member takes, up to its data.
func areaSize(m layout.Member) int64 { return m.DataStart - pageSize }

// encodeLabel gives the sector with label_header, pv_header and
// pv_header_extension.
func encodeLabel(m layout.Member, used bool) []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, labelID)
	le.PutUint64(b[8:], uint64(m.LabelSector))
	le.PutUint32(b[20:], labelHeader)
	copy(b[24:], labelType)
	at := b[labelHeader:]
	copy(at, plainID(m.PhysicalVolume.UUID))
	le.PutUint64(at[idSize:], uint64(m.Size))
	at = at[idSize+8:]
	le.PutUint64(at, uint64(m.DataStart))
	at = at[2*locationSize:] // an empty location ends each list
	le.PutUint64(at, pageSize)
	le.PutUint64(at[8:], uint64(areaSize(m)))
	at = at[2*locationSize:]
	le.PutUint32(at, extension)
	if used {
		le.PutUint32(at[4:], inUse)
	}
	le.PutUint32(b[16:], checksum(b[labelSumFrom:]))
	return b
}

// encodeArea gives the header of the metadata area and, unless it is nil, the
// metadata as the first in its circular buffer.
func encodeArea(m layout.Member, text []byte) ([]byte, error) {
	// A change is written beside the metadata that it replaces.
	if room := (areaSize(m) - areaHeader) / 2; int64(len(text)) > room {
		return nil, fmt.Errorf("the metadata takes %d bytes and physical volume %s has room for %d; give pvcreate a larger --metadatasize",
			len(text), m.PhysicalVolume.Name, room)
	}
	b := make([]byte, areaHeader, areaHeader+len(text))
	le := binary.LittleEndian
	copy(b[4:], areaMagic)
	le.PutUint32(b[20:], areaVersion)
	le.PutUint64(b[24:], pageSize)
	le.PutUint64(b[32:], uint64(areaSize(m)))
	if text != nil {
		location := b[rawLocations:]
		le.PutUint64(location, areaHeader)
		le.PutUint64(location[8:], uint64(len(text)))
		le.PutUint32(location[16:], checksum(text))
	}
	le.PutUint32(b, checksum(b[4:]))
	return append(b, text...), nil
}

var errNoUUID = errors.New("it has no UUID")
