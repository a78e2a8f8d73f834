package layout

import (
	"fmt"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// lvm decodes lvm, all but the bases of its physical volumes. Its own base is
// not read: what it lies on is in the physical volumes.
func (r *reader) lvm(e *entry, k *keys) {
	l := &LVM{Name: e.name, Where: fmt.Sprintf("%s:%d:%d", e.at.File, e.at.Line, e.at.Column)}
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
		l.PhysicalVolumes = append(l.PhysicalVolumes, pv)
		v.done(pv)
		v.e.object, v.e.plugin = pv, "pv" // linked like an entry of its own
		r.entries = append(r.entries, v.e)
	}
	for _, v := range r.volumes(k, "vgs", "vgs config") {
		vg := &VolumeGroup{Name: v.e.name, Options: v.texts("options")}
		for _, base := range v.texts("base") {
			vg.PhysicalVolumes = append(vg.PhysicalVolumes, r.physicalVolume(l, v.e, base))
		}
		l.VolumeGroups = append(l.VolumeGroups, vg)
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
	v.refuseOthers()
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
		pairs, err := item.Entries()
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
	lv := &LogicalVolume{Name: v.e.name, Options: v.texts("options")}
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
	case extentsAt != nil:
		lv.Extents = extents
	default:
		r.fault(v.e.at, "Missing 'size' or 'extents' in lvs config")
	}
	lv.ThinPool, _ = v.text("thin-pool")
	var typeAt *yaml11.Node
	if lv.Type, typeAt = v.text("type"); typeAt != nil && lv.Type != "thin" && lv.Type != "thin-pool" {
		r.fault(typeAt, "Unsupported type:%s, supported types: thin, thin-pool", lv.Type)
	}
	return lv
}
