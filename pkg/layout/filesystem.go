package layout

import (
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// rootNode is the name of the file system that options of the command line and
// of the environment are meant for.
const rootNode = "mkfs_root"

var fsTypePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// fileSystem decodes mkfs.
func (r *reader) fileSystem(e *entry, k *keys) {
	f := &FileSystem{Name: e.name}
	e.object = f
	r.declare(e.name, e.at, f)
	if e.base == "" {
		r.fault(e.at, "Mkfs config needs [base]")
	}
	var typeAt, labelAt, optsAt *yaml11.Node
	var opts string
	f.Type, typeAt = k.text("type")
	f.Label, labelAt = k.text("label")
	opts, optsAt = k.text("opts")
	f.Options = strings.Fields(opts)
	if e.name == rootNode {
		r.mergeDefaults(f, typeAt == nil, labelAt == nil, optsAt == nil)
	}
	if f.Type == "" {
		r.fault(e.at, "Mkfs config needs [type]")
		return
	}
	if !fsTypePattern.MatchString(f.Type) {
		r.fault(e.at, "%q is no file system type", f.Type)
		return
	}
	if f.Label == "" {
		f.Label = e.name
	}
	if labelAt == nil {
		labelAt = e.at
	}
	r.checkLabel(f, labelAt)
	r.checkUUID(f, k)
}

// mergeDefaults fills what the configuration leaves open in mkfs_root.
func (r *reader) mergeDefaults(f *FileSystem, noType, noLabel, noOptions bool) {
	if noType {
		if f.Type = r.defaults.FSType; f.Type == "" {
			f.Type = "ext4"
		}
	}
	if noLabel {
		switch f.Label = r.defaults.RootLabel; {
		case f.Label != "":
		case f.Type == "xfs":
			f.Label = "img-rootfs" // the usual one is too long for it
		default:
			f.Label = "cloudimg-rootfs"
		}
	}
	if noOptions {
		f.Options = strings.Fields(r.defaults.MkfsOptions)
		r.plan.open = f
	}
}

// maxLabel gives the longest label of a file system type in bytes; 0 if it is
// not known.
func maxLabel(fsType string) int {
	switch fsType {
	case "ext2", "ext3", "ext4", "swap":
		return 16
	case "xfs":
		return 12
	case "vfat", "fat":
		return 11
	}
	return 0
}

func (r *reader) checkLabel(f *FileSystem, at *yaml11.Node) {
	if f.IsFAT() {
		f.Label = strings.ToUpper(f.Label)
	}
	if strings.ContainsFunc(f.Label, isControl) {
		r.fault(at, "a label may hold no control characters")
	}
	if r.labels[f.Label] {
		r.fault(at, "File system label [%s] used more than once", f.Label)
	}
	r.labels[f.Label] = true
	switch most := maxLabel(f.Type); {
	case most == 0:
		r.warn(at, "the label [%s] may be too long: how much a label of %s holds is not known", f.Label, f.Type)
	case len(f.Label) > most:
		r.fault(at, "Label [%s] too long for filesystem [%s]: %d > %d", f.Label, f.Type, len(f.Label), most)
	}
}

// checkUUID takes the UUID if it is one. FAT has a serial number in its place;
// like diskimage-builder, a UUID for it is passed over with a warning.
func (r *reader) checkUUID(f *FileSystem, k *keys) {
	text, at := k.text("uuid")
	if at == nil || text == "" || text == "random" {
		return
	}
	if f.IsFAT() {
		serial, err := ParseSerial(text)
		if err != nil {
			r.warn(at, "the uuid [%s] will not be written: a %s file system has a serial number as 1234-ABCD", text, f.Type)
			return
		}
		f.UUID = formatSerial(serial)
		return
	}
	id, err := ParseUUID(text)
	if err != nil {
		r.fault(at, "%v", err)
	}
	f.UUID = FormatUUID(id)
}
