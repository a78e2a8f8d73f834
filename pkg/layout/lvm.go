package layout

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// lvm decodes lvm, all but the bases of its physical volumes. Its own base is
// not read: what it lies on is in the physical volumes.
func (r *reader) lvm(e *entry, k *keys) {
	l := &LVM{Name: e.name, Where: where(e.at)}
	e.object = l
	r.plan.LVM = append(r.plan.LVM, l)
	r.declare(e.name, e.at, l)
	for _, key := range []struct{ name, missing string }{
		{"pvs", "Lvm config requires a 'pvs'"}, {"vgs", "Lvm config needs 'vgs'"}, {"lvs", "Lvm config needs 'lvs'"},
	} {
		if k.node(key.name) == nil {
			r.fault(e.at, "%s", key.missing)
		}
	}
	for _, v := range r.volumes(k, "pvs", "pvs_config") {
		pv := &PhysicalVolume{Name: v.e.name, Options: v.texts("options")}
		pv.UUID = l.checkOptions(v, "pvcreate", pvcreateOptions()).uuid
		l.PhysicalVolumes = append(l.PhysicalVolumes, pv)
		v.done(pv)
		v.e.object, v.e.plugin = pv, "pv" // linked like an entry of its own
		r.entries = append(r.entries, v.e)
	}
	for _, v := range r.volumes(k, "vgs", "vgs config") {
		l.VolumeGroups = append(l.VolumeGroups, r.volumeGroup(l, v))
		vg := l.VolumeGroups[len(l.VolumeGroups)-1]
		v.done(vg)
	}
	for _, v := range r.volumes(k, "lvs", "lvs config") {
		lv := r.logicalVolume(l, v)
		l.LogicalVolumes = append(l.LogicalVolumes, lv)
		v.done(lv)
	}
}

// volume is one item of pvs, vgs or lvs.
type volume struct{ *keys }

func (v volume) done(object any) {
	v.warnOfOthers()
	v.r.declare(v.e.name, v.e.at, object)
}

// volumes gives the items of pvs, vgs or lvs that have a name and a base.
// baseWhere is how a missing base is told; diskimage-builder's words differ.
func (r *reader) volumes(k *keys, key, baseWhere string) []volume {
	list := k.node(key)
	if list == nil {
		return nil
	}
	items, err := list.List()
	if err != nil {
		r.fault(list, "%s: %s", key, message(err))
	}
	var out []volume
	for _, item := range items {
		pairs, err := r.entriesOf(item)
		if err != nil {
			r.fault(item, "%s: %s", key, message(err))
			continue
		}
		e := &entry{plugin: key, at: item, keys: pairs, name: r.scalarText(item.Get("name")), base: r.scalarText(item.Get("base"))}
		v := volume{&keys{r: r, e: e, used: map[string]bool{"name": true, "base": true}}}
		switch {
		case e.name == "":
			r.fault(item, "Missing 'name' in %s config", key)
		case v.node("base") == nil:
			r.fault(item, "Missing 'base' in %s", baseWhere)
		default:
			out = append(out, v)
		}
	}
	return out
}

func where(at *yaml11.Node) string { return fmt.Sprintf("%s:%d:%d", at.File, at.Line, at.Column) }

// checkOptions keeps what is wrong with the options of a command: a plan can
// be read, and a disk cannot be made of it.
func (l *LVM) checkOptions(v volume, command string, known []option) options {
	o, err := parseOptions(command, known, v.texts("options"))
	if wrong := (*optionError)(nil); errors.As(err, &wrong) {
		at := v.node("options")
		if items, err := at.List(); err == nil && wrong.item < len(items) {
			at = items[wrong.item]
		}
		l.refused = append(l.refused, at.Errorf("%s: %s", v.e.name, wrong.message))
	}
	return o
}

var lvmNamePattern = regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$`)

// checkName holds a name to lvm(8), section "Valid names".
func (r *reader) checkName(v volume, what string) {
	name := v.e.name
	if !lvmNamePattern.MatchString(name) || name == "." || name == ".." || len(name) > 127 {
		r.fault(v.e.at, "the name [%s] is none for a %s: letters, digits and _ + . - make it, 127 at most", name, what)
	}
}

// checkReserved refuses the names that LVM keeps for itself.
func (r *reader) checkReserved(v volume) {
	name := v.e.name
	taken := func(part string) bool { return strings.Contains(name, part) }
	if strings.HasPrefix(name, "snapshot") || strings.HasPrefix(name, "pvmove") || slices.ContainsFunc([]string{"_cdata", "_cmeta",
		"_corig", "_cpool", "_cvol", "_mlog", "_mimage", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig"}, taken) {
		r.fault(v.e.at, "LVM keeps the name [%s] of a logical volume for itself", name)
	}
}

func (r *reader) volumeGroup(l *LVM, v volume) *VolumeGroup {
	vg := &VolumeGroup{Name: v.e.name, Options: v.texts("options"), Where: where(v.e.at)}
	r.checkName(v, "volume group")
	o := l.checkOptions(v, "vgcreate", vgcreateOptions())
	bases := v.texts("base")
	if len(bases) == 0 {
		r.fault(v.e.at, "the volume group %s has no physical volume", vg.Name)
	}
	if o.maxPV > 0 && int64(len(bases)) > o.maxPV {
		r.fault(v.e.at, "the volume group %s has %d physical volumes and --maxphysicalvolumes %d", vg.Name, len(bases), o.maxPV)
	}
	for _, base := range bases {
		pv := r.physicalVolume(l, v.e, base)
		if pv == nil {
			continue
		}
		for _, other := range slices.Concat(l.VolumeGroups, []*VolumeGroup{vg}) {
			if slices.Contains(other.PhysicalVolumes, pv) {
				r.fault(v.e.at, "the physical volume %s is in the volume group %s already", base, other.Name)
			}
		}
		vg.PhysicalVolumes = append(vg.PhysicalVolumes, pv)
	}
	return vg
}

func (r *reader) physicalVolume(l *LVM, e *entry, base string) *PhysicalVolume {
	for _, pv := range l.PhysicalVolumes {
		if pv.Name == base {
			return pv
		}
	}
	r.fault(e.at, "base:%s in vgs does not match a valid pvs", base)
	return nil
}

func (r *reader) logicalVolume(l *LVM, v volume) *LogicalVolume {
	lv := &LogicalVolume{Name: v.e.name, Options: v.texts("options"), Where: where(v.e.at)}
	r.checkName(v, "logical volume")
	r.checkReserved(v)
	l.checkOptions(v, "lvcreate", lvcreateOptions())
	for _, vg := range l.VolumeGroups {
		if vg.Name == v.e.base {
			lv.VolumeGroup = vg
		}
	}
	if lv.VolumeGroup == nil {
		r.fault(v.e.at, "base:%s in lvs does not match a valid vg", v.e.base)
	}
	size, sizeAt := v.text("size")
	extents, extentsAt := v.text("extents")
	switch {
	case sizeAt != nil:
		lv.Size = r.size(sizeAt, size)
		if lv.Size > 0 && lv.Size < sizeUnit {
			r.fault(sizeAt, "size [%s] of a logical volume is less than 4 MiB, of which it is made", size)
		}
	case extentsAt != nil:
		lv.Extents = extents
		if _, err := parseExtents(extents); err != nil {
			r.fault(extentsAt, "%v", err)
		}
	default:
		r.fault(v.e.at, "Missing 'size' or 'extents' in lvs config")
	}
	r.thin(l, lv, v)
	return lv
}

// thin reads what makes a volume one of thin provisioning, of which no disk is
// made.
func (r *reader) thin(l *LVM, lv *LogicalVolume, v volume) {
	var typeAt, poolAt *yaml11.Node
	lv.Type, typeAt = v.text("type")
	lv.ThinPool, poolAt = v.text("thin-pool")
	switch {
	case typeAt == nil && poolAt != nil:
		l.refused = append(l.refused, poolAt.Errorf("%s: thin volumes are not made; leave out thin-pool for an ordinary volume", lv.Name))
	case typeAt == nil:
	case lv.Type != "thin" && lv.Type != "thin-pool":
		r.fault(typeAt, "Unsupported type:%s, supported types: thin, thin-pool", lv.Type)
	default:
		l.refused = append(l.refused, typeAt.Errorf("%s: a volume of type %s is not made; ordinary volumes have no type", lv.Name, lv.Type))
	}
}

// sizeUnit is what diskimage-builder rounds the size of a logical volume down
// to, whatever the extent size of its group.
const sizeUnit = 4 * mebibyte

// extents is how many extents a volume wants: a number, or a share.
type extents struct {
	count int64
	of    string // "", "VG", "FREE" or "PVS": then count is in percent
}

var extentsPattern = regexp.MustCompile(`^\+?([0-9]+)(%([A-Za-z]+))?$`)

// parseExtents reads what lvcreate -l takes.
func parseExtents(text string) (extents, error) {
	m := extentsPattern.FindStringSubmatch(text)
	if m == nil {
		return extents{}, fmt.Errorf("extents [%s] is no number of extents and no share as 25%%VG or 100%%FREE", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 32)
	switch {
	case err != nil:
		return extents{}, fmt.Errorf("extents [%s] is too large", text)
	case n == 0:
		return extents{}, fmt.Errorf("extents [%s] is nothing", text)
	case m[2] == "":
		return extents{count: n}, nil
	}
	for _, of := range []string{"VG", "FREE", "PVS"} {
		if strings.HasPrefix(of, strings.ToUpper(m[3])) {
			return extents{n, of}, nil
		}
	}
	return extents{}, fmt.Errorf("extents [%s] is a share of something that is not known: VG, FREE and PVS are", text)
}

// CheckLVM tells what of LVM no disk can be made of, each fault as
// "FILE:LINE:COL: ...". It needs no sizes, so it can be asked before anything
// is built.
func (p *Plan) CheckLVM() error {
	var all []error
	for _, l := range p.LVM {
		all = append(all, l.refused...)
	}
	return errors.Join(all...)
}
