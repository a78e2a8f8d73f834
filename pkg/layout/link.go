package layout

import "github.com/dibber-project/dibber/pkg/yaml11"

// link puts every object on its base. A thing can lie only on things of a
// lower kind (mounts on file systems, these on partitions, ...), so no cycle
// can come of it.
func (r *reader) link() {
	for _, e := range r.entries {
		if e.plugin == "local_loop" || e.plugin == "lvm" {
			continue
		}
		base := r.objects[e.base]
		if base == nil {
			name := e.name
			if len(e.partitions) > 0 {
				name = e.partitions[0].name // a table is no node, its partitions are
			}
			r.fault(e.at, "Edge not defined: %s->%s", e.base, name)
			continue
		}
		if !r.put(e, base) {
			r.fault(e.at, "%s %s cannot lie on %s, which is %s", e.plugin, e.name, e.base, base)
		}
	}
}

// put tells whether the kind of the base is right for the entry.
func (r *reader) put(e *entry, base *object) bool {
	switch object := e.object.(type) {
	case *Table:
		image, ok := base.value.(*Image)
		if ok {
			r.only(e, image.empty())
			image.Table = object
			if object.Label == MBR && object.Alignment()%image.SectorSize != 0 {
				r.fault(e.at, "align must be a multiple of %d, the size of a sector", image.SectorSize)
			}
		}
		return ok
	case *FileSystem:
		return r.putFileSystem(e, object, base)
	case *Mount:
		f, ok := base.value.(*FileSystem)
		if ok {
			r.putMount(e, f, object)
		}
		return ok
	case *Fstab:
		mount, ok := base.value.(*Mount)
		if ok {
			r.only(e, mount.Fstab == nil)
			mount.Fstab = object
		}
		return ok
	case *PhysicalVolume:
		return r.putPhysicalVolume(e, object, base)
	}
	return false
}

// only notes a fault if the entry is not the only one on its base.
func (r *reader) only(e *entry, alone bool) {
	if !alone {
		r.fault(e.at, "%s %s: there is something else on %s already", e.plugin, e.name, e.base)
	}
}

// empty tells that nothing lies on the image so far.
func (i *Image) empty() bool { return i.Table == nil && i.FileSystem == nil && i.PhysicalVolume == nil }

func (r *reader) putFileSystem(e *entry, f *FileSystem, base *object) bool {
	switch on := base.value.(type) {
	case *Image:
		r.only(e, on.empty())
		on.FileSystem = f
	case *Partition:
		r.only(e, on.FileSystem == nil && on.PhysicalVolume == nil)
		on.FileSystem = f
	case *LogicalVolume:
		r.only(e, on.FileSystem == nil)
		on.FileSystem = f
	default:
		return false
	}
	return true
}

func (r *reader) putPhysicalVolume(e *entry, pv *PhysicalVolume, base *object) bool {
	switch on := base.value.(type) {
	case *Image:
		r.only(e, on.empty())
		pv.Image, on.PhysicalVolume = on, pv
	case *Partition:
		r.only(e, on.FileSystem == nil && on.PhysicalVolume == nil)
		pv.Partition, on.PhysicalVolume = on, pv
	default:
		return false
	}
	return true
}

// putMount also fixes what is fixed for swap.
func (r *reader) putMount(e *entry, f *FileSystem, m *Mount) {
	r.only(e, f.Mount == nil)
	f.Mount = m
	if f.Type == "swap" {
		m.Point = swapPoint
	} else if m.Point == "" || m.Point[0] != '/' {
		r.fault(e.at, "the mount point [%s] of a file system must begin with /", m.Point)
	}
	if r.plan.at(m.Point) != nil {
		r.fault(e.at, "Mount point [%s] specified more than once", m.Point)
	}
	r.plan.Mounts = append(r.plan.Mounts, f)
}

// check notes what only the whole can be without.
func (r *reader) check(root *yaml11.Node) {
	main := false
	for _, image := range r.plan.Images {
		main = main || image.Name == MainImage
	}
	if !main {
		r.fault(root, "no local_loop is called %s: the image with the root file system must be", MainImage)
	}
	if r.plan.Root() == nil {
		r.fault(root, "nothing is mounted at /: a mount with that mount_point is needed")
	}
	for _, f := range r.plan.Mounts {
		if f.Type == "swap" && f.Mount.Fstab != nil {
			*f.Mount.Fstab = Fstab{Options: "sw"}
		}
	}
}
