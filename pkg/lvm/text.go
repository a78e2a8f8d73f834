package lvm

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/layout"
)

// host is what stands for the name of the machine that made a group.
const host = "dibber"

// metadata gives the text of a group with the zero that ends it, spaced as LVM
// itself writes it to disk: GRUB reads it by searching for such text.
func metadata(g *layout.Group, time int64) ([]byte, error) {
	vg := g.VolumeGroup
	id := plainID(vg.UUID)
	if id == "" {
		return nil, errNoUUID
	}
	var b bytes.Buffer
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("%s {\nid = %q\nseqno = 1\nformat = \"lvm2\"", vg.Name, dashed(id))
	add("status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []")
	addTags(&b, g.Tags)
	add("extent_size = %d\nmax_lv = %d\nmax_pv = %d\nmetadata_copies = 0\n", g.ExtentSize/sectorSize, g.MaxLogical, g.MaxPhysical)
	add("physical_volumes {\n")
	for i, m := range g.Members {
		addMember(&b, i, m)
	}
	add("}\n")
	if len(g.Volumes) > 0 {
		add("logical_volumes {\n")
		for _, v := range g.Volumes {
			if err := addVolume(&b, v, time); err != nil {
				return nil, err
			}
		}
		add("}\n")
	}
	add("}\ncontents = \"Text Format Volume Group\"\nversion = 1\n\ndescription = \"\"\n\ncreation_host = %q\ncreation_time = %d\n", host, time)
	b.WriteByte(0)
	return b.Bytes(), nil
}

func addTags(b *bytes.Buffer, tags []string) {
	if len(tags) > 0 {
		fmt.Fprintf(b, "tags = [\"%s\"]\n", strings.Join(tags, `", "`))
	}
}

// addMember describes a physical volume. What its device was called would only
// be a hint.
func addMember(b *bytes.Buffer, i int, m layout.Member) {
	fmt.Fprintf(b, "pv%d {\nid = %q\ndevice = \"[unknown]\"\n\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = %d\npe_start = %d\npe_count = %d\n}\n",
		i, dashed(plainID(m.PhysicalVolume.UUID)), m.Size/sectorSize, m.DataStart/sectorSize, m.Extents)
	b.WriteByte('\n')
}

func addVolume(b *bytes.Buffer, v layout.Volume, time int64) error {
	id := plainID(v.LogicalVolume.UUID)
	if id == "" {
		return fmt.Errorf("logical volume %s: %w", v.LogicalVolume.Name, errNoUUID)
	}
	fmt.Fprintf(b, "%s {\nid = %q\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\n", v.LogicalVolume.Name, dashed(id))
	addTags(b, v.Tags)
	fmt.Fprintf(b, "creation_time = %d\ncreation_host = %q\nsegment_count = %d\n\n", time, host, len(v.Segments))
	start := int64(0)
	for i, s := range v.Segments {
		fmt.Fprintf(b, "segment%d {\nstart_extent = %d\nextent_count = %d\n\ntype = \"striped\"\nstripe_count = 1\n\nstripes = [\n\"pv%d\", %d\n]\n}\n",
			i+1, start, s.Count, s.Member, s.First)
		start += s.Count
	}
	b.WriteString("}\n\n")
	return nil
}
