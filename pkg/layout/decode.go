package layout

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// image decodes local_loop. Where the image file lies while it is made does
// not matter here, since none is.
func (r *reader) image(e *entry, k *keys) {
	image := &Image{Name: e.name, SectorSize: 512}
	if text, at := k.text("size"); at != nil {
		image.Size = r.size(at, text)
	}
	if at := k.node("directory"); at != nil {
		r.warn(at, "the directory of %s is not used: its outputs are written beside those of the other disks", e.name)
	}
	if at := k.node("block_size"); at != nil {
		size, err := strconv.ParseInt(at.Str(), 10, 64)
		if err != nil || size != 512 && size != 4096 {
			r.fault(at, "block_size: expected 512 or 4096, found %s", at.Str())
		}
		image.SectorSize = size
	}
	if size := r.defaults.SectorSize; size != 0 {
		if size != 512 && size != 4096 {
			r.fault(e.at, "DIB_BLOCK_SIZE: expected 512 or 4096, found %d", size)
		}
		image.SectorSize = size
	}
	e.object = image
	r.declare(e.name, e.at, image)
	r.plan.Images = append(r.plan.Images, image)
}

func (r *reader) size(at *yaml11.Node, text string) int64 {
	size, err := ParseSize(text)
	if err != nil {
		r.fault(at, "%v", err)
	} else if size == 0 {
		r.fault(at, "size [%s] is nothing", text)
	}
	return size
}

// table decodes partitioning. Its name is no node's; its partitions' are.
func (r *reader) table(e *entry, k *keys) {
	t := &Table{}
	e.object = t
	if e.base == "" {
		r.fault(e.at, "Partitioning config needs 'base'")
	}
	if e.partitions == nil {
		r.fault(e.at, "Partitioning config needs 'partitions'")
	}
	label, at := k.text("label")
	switch t.Label = Label(label); {
	case at == nil:
		r.fault(e.at, "Partitioning config needs 'label'")
		return
	case t.Label != MBR && t.Label != GPT:
		r.fault(at, "Label must be 'mbr' or 'gpt'")
		return
	}
	if text, at := k.text("align"); at != nil {
		// Rounded down as diskimage-builder does.
		if t.Align = r.size(at, text) / 512 * 512; t.Align == 0 || t.Align > gibibyte {
			r.fault(at, "align [%s] must not be less than 512 bytes and not more than 1 GiB", text)
		}
	}
	for _, pe := range e.partitions {
		pk := &keys{r: r, e: pe, used: map[string]bool{"name": true, "base": true}}
		partition := r.partition(t.Label, pe, pk)
		pk.warnOfOthers()
		t.Partitions = append(t.Partitions, partition)
		r.declare(pe.name, pe.at, partition)
	}
	r.checkSlots(e, t)
}

func (r *reader) partition(label Label, e *entry, k *keys) *Partition {
	p := &Partition{Name: e.name, Type: "8300"}
	if label == MBR {
		p.Type = "83"
	}
	if units := len(utf16.Encode([]rune(p.Name))); label == GPT && units > 36 {
		r.fault(e.at, "the partition name [%s] is too long for gpt: %d > 36", p.Name, units)
	}
	for _, flag := range k.texts("flags") {
		switch {
		case flag == "boot":
			p.Boot = true
		case flag == "primary" && label == GPT:
			r.fault(e.at, "Primary flag not supported for GPT partitions")
		case flag == "primary":
			p.Primary = true
		default:
			r.fault(e.at, "Unknown flag: %s", flag)
		}
	}
	text, at := k.text("size")
	if at == nil {
		r.fault(e.at, "No size in partition %s", e.name)
	} else {
		var err error
		if p.Size, err = parsePartSize(text); err != nil {
			r.fault(at, "%v", err)
		}
	}
	if at := k.node("type"); at != nil {
		p.Type = r.partitionType(label, at)
	}
	return p
}

// partitionType gives the type as two hex digits for an MBR and as it was
// written for GPT.
func (r *reader) partitionType(label Label, at *yaml11.Node) string {
	hint := ""
	if at.Kind == yaml11.Int && at.Str() != at.Raw {
		hint = " (written " + at.Raw + ", which YAML reads as a number: put it in quotes)"
	}
	if label == GPT {
		if at.Kind != yaml11.String && at.Kind != yaml11.Int || hint != "" {
			r.fault(at, "the partition type %s is no code of sgdisk and no GUID%s", at.Str(), hint)
		}
		return at.Str()
	}
	if at.Kind != yaml11.String {
		r.fault(at, "the partition type %s must stand in quotes%s", at.Str(), hint)
		return ""
	}
	digits := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(at.Raw)), "0x")
	code, err := strconv.ParseUint(digits, 16, 8)
	switch {
	case err != nil || code == 0:
		r.fault(at, "the partition type %s is no type of an mbr partition, 01 to ff", at.Raw)
	case code == 0x05 || code == 0x0F || code == 0x85:
		r.fault(at, "the partition type %s is the extended partition's, which is made when logical ones need it", at.Raw)
	}
	return strings.ToUpper(strconv.FormatUint(code+0x100, 16)[1:])
}

// checkSlots notes what the four slots of an MBR cannot hold.
func (r *reader) checkSlots(e *entry, t *Table) {
	if t.Label != MBR {
		if len(t.Partitions) > 128 {
			r.fault(e.at, "a gpt holds 128 partitions, not %d", len(t.Partitions))
		}
		return
	}
	primary, logical := 0, 0
	for i, p := range t.Partitions {
		switch {
		case !p.Primary:
			logical = 1
		case logical > 0:
			r.fault(e.partitions[i].at, "All primary partitions must be given first")
			return
		default:
			primary++
		}
	}
	if primary+logical > 4 {
		r.fault(e.at, "an mbr holds four primary partitions, or three and logical ones; found %d primary", primary)
	}
}

const swapPoint = "none"

func (r *reader) mount(e *entry, k *keys) {
	m := &Mount{Name: e.name}
	point, at := k.text("mount_point")
	switch {
	case at == nil:
		r.fault(e.at, "MountPoint config needs [mount_point]")
	case strings.ContainsFunc(point, isControl) || strings.Contains(point, "|"):
		r.fault(at, "the mount point [%s] holds a bar or a control character", strings.ToValidUTF8(point, "?"))
	case point == swapPoint || point == "":
		m.Point = point // right for swap alone, see putMount
	case !strings.HasPrefix(point, "/"):
		m.Point = path.Clean("/" + point)
		r.warn(at, "the mount point [%s] is taken for %s", point, m.Point)
	default:
		m.Point = path.Clean(point)
	}
	if e.base == "" {
		r.fault(e.at, "MountPoint config needs [base]")
	}
	e.object = m
	r.declare(e.name, e.at, m)
}

func (r *reader) fstab(e *entry, k *keys) {
	f := &Fstab{Options: "defaults", DumpFreq: k.count("dump-freq", 0), FsckPassno: k.count("fsck-passno", 2)}
	if options, at := k.text("options"); at != nil {
		if f.Options = options; options == "" || strings.ContainsAny(options, " \t\r\n") {
			r.fault(at, "fstab options [%s] must be given and hold no blanks", options)
		}
	}
	if e.base == "" {
		r.fault(e.at, "Fstab config needs [base]")
	}
	e.object = f
	r.declare(e.name, e.at, f)
}
