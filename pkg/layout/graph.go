package layout

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// Graph gives the configuration in the graph form, as JSON: what was nested is
// flat, every entry has its name and its base, and mkfs_root has what it takes
// from the command line. It is what diskimage-builder keeps as config.json
// among the states of a build.
func (p *Plan) Graph() ([]byte, error) {
	list := []map[string]any{}
	for _, e := range p.graph {
		if e.plugin != "pv" { // part of an lvm entry
			list = append(list, map[string]any{e.plugin: e.values()})
		}
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the block device configuration: %w", err)
	}
	return append(data, '\n'), nil
}

// values gives the keys of an entry with what it did not write itself.
func (e *entry) values() map[string]any {
	values := plainMap(e.keys)
	for key, text := range map[string]string{"name": e.name, "base": e.base} {
		if _, ok := values[key]; !ok && text != "" {
			values[key] = text
		}
	}
	if e.partitions != nil {
		list := []any{}
		for _, partition := range e.partitions {
			keys := plainMap(partition.keys)
			keys["base"] = values["base"]
			list = append(list, keys)
		}
		values["partitions"] = list
	}
	if f, ok := e.object.(*FileSystem); ok && e.name == rootNode {
		f.addTo(values)
	}
	return values
}

// addTo adds what mkfs_root took from outside the configuration.
func (f *FileSystem) addTo(values map[string]any) {
	for key, text := range map[string]string{"type": f.Type, "label": f.Label, "opts": strings.Join(f.Options, " ")} {
		if _, ok := values[key]; !ok && text != "" {
			values[key] = text
		}
	}
}

func plainMap(pairs []yaml11.Pair) map[string]any {
	values := map[string]any{}
	for _, p := range pairs {
		values[p.Key.Str()] = plainValue(p.Value)
	}
	return values
}

// plainValue gives a value of YAML as encoding/json takes it. Numbers that JSON
// cannot write are text.
func plainValue(n *yaml11.Node) any {
	switch n.Kind {
	case yaml11.Null:
		return nil
	case yaml11.Bool:
		truth, _ := n.Bool()
		return truth
	case yaml11.Int:
		if v, err := n.Int(); err == nil {
			return v
		}
	case yaml11.Float:
		if v, err := n.Float(); err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v
		}
	case yaml11.List:
		list := []any{}
		for _, item := range n.Items {
			list = append(list, plainValue(item))
		}
		return list
	case yaml11.Map:
		return plainMap(n.Pairs)
	}
	return n.Raw
}
