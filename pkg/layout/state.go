package layout

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// StateDirs are the directories that [Plan.State] speaks of.
type StateDirs struct {
	Images string // of image files, which are called NAME.raw
	Mounts string // at which "/" would be mounted; without a slash at the end
}

// State gives, as JSON, what diskimage-builder keeps as state.json among the
// states of a build once disks exist: devices, file systems, mounts and lines
// of fstab by the names of their nodes. Devices are those of
// [Plan.BlockDevices]; UUIDs are those of [Plan.Identify].
func (p *Plan) State(dirs StateDirs) ([]byte, error) {
	s := state{
		BlockDevices: map[string]map[string]any{}, FileSystems: map[string]any{}, Mounts: map[string]any{},
		Fstab: map[string]any{}, PhysicalVolumes: map[string]any{}, VolumeGroups: map[string]any{}, Labels: []string{},
		SortedMounts: [][2]string{}, MountOrder: []string{},
	}
	for _, d := range p.devices() {
		s.BlockDevices[d.name] = map[string]any{"device": d.path}
	}
	for _, image := range p.Images {
		s.BlockDevices[image.Name]["image"] = path.Join(dirs.Images, image.Name+".raw")
	}
	for _, e := range p.graph {
		s.add(e, dirs)
	}
	for _, f := range p.mountOrder() {
		s.MountOrder = append(s.MountOrder, f.Mount.Point)
		s.SortedMounts = append(s.SortedMounts, [2]string{f.Mount.Point, f.Mount.Name})
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the state of block devices: %w", err)
	}
	return append(data, '\n'), nil
}

// state has the keys of diskimage-builder's state.json.
type state struct {
	BlockDevices    map[string]map[string]any `json:"blockdev"`
	FileSystems     map[string]any            `json:"filesys,omitempty"`
	Mounts          map[string]any            `json:"mount,omitempty"`
	MountOrder      []string                  `json:"mount_order,omitempty"`
	SortedMounts    [][2]string               `json:"sorted_mount_points,omitempty"`
	Fstab           map[string]any            `json:"fstab,omitempty"`
	Labels          []string                  `json:"fs_labels,omitempty"`
	PhysicalVolumes map[string]any            `json:"pvs,omitempty"`
	VolumeGroups    map[string]any            `json:"vgs,omitempty"`
}

// add takes one entry of the graph in.
func (s *state) add(e *entry, dirs StateDirs) {
	device := s.BlockDevices[e.base]["device"]
	switch object := e.object.(type) {
	case *FileSystem:
		s.Labels = append(s.Labels, object.Label)
		s.FileSystems[e.name] = map[string]any{"uuid": object.UUID, "label": object.Label, "fstype": object.Type,
			"opts": orNull(object.Options), "device": device}
	case *Mount:
		where := dirs.Mounts + object.Point
		if object.Point == swapPoint {
			where = swapPoint
		}
		s.Mounts[object.Point] = map[string]any{"name": e.name, "base": e.base, "path": where}
	case *Fstab:
		s.Fstab[e.base] = map[string]any{"name": e.name, "base": e.base, "options": object.Options,
			"dump-freq": object.DumpFreq, "fsck-passno": object.FsckPassno}
	case *PhysicalVolume:
		s.PhysicalVolumes[e.name] = map[string]any{"opts": orNull(object.Options), "device": device}
	case *LVM:
		s.addVolumes(e, object)
	}
}

func (s *state) addVolumes(e *entry, l *LVM) {
	for _, vg := range l.VolumeGroups {
		names := []string{}
		for _, pv := range vg.PhysicalVolumes {
			names = append(names, pv.Name)
		}
		s.VolumeGroups[vg.Name] = map[string]any{"opts": orNull(vg.Options), "devices": names}
	}
	for i, lv := range l.LogicalVolumes {
		known := s.BlockDevices[lv.Name]
		known["vgs"], known["opts"] = lv.VolumeGroup.Name, orNull(lv.Options)
		known["size"], known["extents"] = e.written("lvs", i, "size"), e.written("lvs", i, "extents")
	}
}

// written gives the text of a key in an item of a list, or nil if it has none.
func (e *entry) written(list string, item int, key string) any {
	for _, p := range e.keys {
		if p.Key.Raw != list {
			continue
		}
		if n := p.Value.Items[item].Get(key); n != nil && n.Kind != yaml11.Null {
			return n.Str()
		}
	}
	return nil
}

// orNull gives null for a list of nothing, as for one that was not given.
func orNull(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}
