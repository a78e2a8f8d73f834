package layout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// Defaults are what diskimage-builder takes from its command line and
// environment when the configuration leaves it open.
type Defaults struct {
	FSType      string // FS_TYPE, of mkfs_root; "" is ext4
	RootLabel   string // ROOT_LABEL, of mkfs_root
	MkfsOptions string // MKFS_OPTS, of mkfs_root; see Plan.SetRootOptions
	SectorSize  int64  // DIB_BLOCK_SIZE, of every image; 0: as configured
}

// Read turns a block device configuration into a plan. file is the name that
// errors call it by. Errors are of the form FILE:LINE:COL: what is wrong, and
// several may be joined.
func Read(file string, data []byte, o Defaults) (*Plan, error) {
	root, err := yaml11.Parse(file, data)
	if err != nil {
		return nil, err
	}
	r := &reader{defaults: o, plan: &Plan{}, objects: map[string]*object{}, labels: map[string]bool{}}
	for _, stage := range []func(){
		func() { r.flatten(root) }, r.decode, r.link, func() { r.check(root) },
	} {
		stage()
		if len(r.faults) > 0 {
			return nil, errors.Join(r.faults...)
		}
	}
	r.plan.graph = r.entries
	return r.plan, nil
}

// reader collects what Read finds. Each of its stages looks at everything and
// notes all faults, and a stage runs only when there were none before.
type reader struct {
	defaults Defaults
	plan     *Plan
	entries  []*entry
	objects  map[string]*object // by node name
	labels   map[string]bool    // of file systems
	faults   []error
}

func (r *reader) fault(at *yaml11.Node, format string, args ...any) {
	r.faults = append(r.faults, at.Errorf(format, args...))
}

func (r *reader) warn(at *yaml11.Node, format string, args ...any) {
	r.plan.Warnings = append(r.plan.Warnings, at.Errorf(format, args...).Error())
}

// entry is one item of the graph form: what the tree form is flattened to.
type entry struct {
	plugin     string
	at         *yaml11.Node // where it begins
	name, base string
	keys       []yaml11.Pair // what is its own, without the entries nested in it
	partitions []*entry      // of partitioning
	object     any           // what it is decoded to
}

func isPlugin(key *yaml11.Node) bool {
	return key.Kind == yaml11.String &&
		slices.Contains([]string{"local_loop", "partitioning", "lvm", "mkfs", "mount", "fstab"}, key.Raw)
}

// flatten turns the tree form, of which the graph form is a flat case, into
// entries. An entry comes after those nested in it.
func (r *reader) flatten(root *yaml11.Node) {
	items, err := root.List()
	if err != nil {
		hint := ""
		if root.Kind == yaml11.String {
			hint = "; a file is named as file://PATH"
		}
		r.fault(root, "the block device configuration must be a list of entries, found %s%s", root.Kind, hint)
		return
	}
	for _, item := range items {
		switch pairs, err := r.entriesOf(item); {
		case err != nil:
			r.fault(item, "Config entry not a dict: found %s", item.Kind)
		case len(pairs) != 1:
			r.fault(item, "Config entry top-level should be a single dict: found the keys %s", keysOf(pairs))
		case !isPlugin(pairs[0].Key):
			r.fault(pairs[0].Key, "Config entry is not a plugin value: %s", pairs[0].Key.Str())
		default:
			r.expand(pairs[0], "")
		}
	}
}

func keysOf(pairs []yaml11.Pair) string {
	var keys []string
	for _, p := range pairs {
		keys = append(keys, p.Key.Str())
	}
	return strings.Join(keys, ", ")
}

// expand flattens one entry that is nested in the node called parent.
func (r *reader) expand(p yaml11.Pair, parent string) {
	e := &entry{plugin: p.Key.Raw, at: p.Key}
	pairs, err := r.entriesOf(p.Value)
	if err != nil {
		r.fault(p.Key, "%s needs keys and values, found %s", e.plugin, p.Value.Kind)
		return
	}
	if e.base = r.scalarText(p.Value.Get("base")); e.base == "" {
		e.base = parent
	}
	switch e.name = r.scalarText(p.Value.Get("name")); {
	case e.name != "":
	case e.base != "":
		e.name = e.plugin + "_" + e.base
	case e.plugin == "lvm":
		r.fault(p.Key, "Lvm config requires 'name'")
	default:
		r.fault(p.Key, "%s needs a 'name' or a 'base'", e.plugin)
	}
	for _, pair := range pairs {
		switch {
		case isPlugin(pair.Key):
			r.expand(pair, e.name)
		case pair.Key.Raw == "partitions" && e.plugin == "partitioning":
			r.expandPartitions(e, pair.Value)
		default:
			e.keys = append(e.keys, pair)
		}
	}
	r.entries = append(r.entries, e)
}

// expandPartitions flattens what is nested in partitions. A partition's own
// base does not matter: it lies where its table does.
func (r *reader) expandPartitions(table *entry, list *yaml11.Node) {
	items, err := list.List()
	if err != nil {
		r.fault(list, "partitions must be a list, found %s", list.Kind)
		return
	}
	table.partitions = []*entry{}
	for _, item := range items {
		pairs, err := r.entriesOf(item)
		if err != nil {
			r.fault(item, "a partition must be a map, found %s", item.Kind)
			continue
		}
		e := &entry{plugin: "partition", at: item, base: table.base, name: r.scalarText(item.Get("name"))}
		if e.name == "" {
			r.fault(item, "a partition needs a 'name'")
		}
		for _, pair := range pairs {
			if isPlugin(pair.Key) {
				r.expand(pair, e.name)
			} else {
				e.keys = append(e.keys, pair)
			}
		}
		table.partitions = append(table.partitions, e)
	}
}

// entriesOf gives the entries of a map, and warns of those that count for
// nothing because their key comes again.
func (r *reader) entriesOf(n *yaml11.Node) ([]yaml11.Pair, error) {
	for _, old := range n.Overridden {
		r.warn(old.Key, "the key %q is given again further down, and that one counts", old.Key.Str())
	}
	return n.Entries()
}

// scalarText gives the text of a name: whatever is no list and no map may be
// one. A list, which lvm may have for a base that nothing reads, is no name.
func (r *reader) scalarText(n *yaml11.Node) string {
	if n == nil {
		return ""
	}
	switch n.Kind {
	case yaml11.Null, yaml11.List:
		return ""
	case yaml11.Map:
		r.fault(n, "expected a name, found %s", n.Kind)
		return ""
	}
	text := n.Str()
	if strings.ContainsFunc(text, isControl) {
		r.fault(n, "a name may hold no control characters")
	}
	return text
}

func isControl(c rune) bool { return c < ' ' || c == 0x7F }

// object is a named thing that others can be based on.
type object struct {
	at    *yaml11.Node
	value any
}

func (o *object) String() string {
	switch o.value.(type) {
	case *Image:
		return "an image"
	case *Partition:
		return "a partition"
	case *FileSystem:
		return "a file system"
	case *Mount:
		return "a mount"
	case *Fstab:
		return "a line of fstab"
	case *LVM:
		return "an lvm entry"
	case *PhysicalVolume:
		return "a physical volume"
	case *VolumeGroup:
		return "a volume group"
	case *LogicalVolume:
		return "a logical volume"
	}
	return fmt.Sprintf("%T", o.value)
}

// declare gives an object its name in the graph.
func (r *reader) declare(name string, at *yaml11.Node, value any) {
	if old := r.objects[name]; old != nil {
		r.fault(at, "Duplicate node name: %s, first in line %d", name, old.at.Line)
		return
	}
	r.objects[name] = &object{at, value}
}

// decode makes an object of each entry from its own keys alone.
func (r *reader) decode() {
	for _, e := range r.entries {
		k := &keys{r: r, e: e, used: map[string]bool{"name": true, "base": true}}
		switch e.plugin {
		case "local_loop":
			r.image(e, k)
		case "partitioning":
			r.table(e, k)
		case "lvm":
			r.lvm(e, k)
		case "mkfs":
			r.fileSystem(e, k)
		case "mount":
			r.mount(e, k)
		case "fstab":
			r.fstab(e, k)
		}
		k.warnOfOthers()
	}
}

// keys gives the keys of an entry one by one, and knows those nobody asked for.
type keys struct {
	r    *reader
	e    *entry
	used map[string]bool
}

// node gives the value of a key, or nil if it is missing or null.
func (k *keys) node(key string) *yaml11.Node {
	k.used[key] = true
	for _, p := range k.e.keys {
		if p.Key.Kind == yaml11.String && p.Key.Raw == key && p.Value.Kind != yaml11.Null {
			return p.Value
		}
	}
	return nil
}

// text gives the text of a key, and where it is; "" and nil if it is missing.
func (k *keys) text(key string) (string, *yaml11.Node) {
	n := k.node(key)
	if n == nil {
		return "", nil
	}
	text, err := n.Text()
	if err != nil {
		k.r.fault(n, "%s: %s", key, message(err))
	}
	return text, n
}

// count gives a small number, which may stand in quotes.
func (k *keys) count(key string, missing int) int {
	n := k.node(key)
	if n == nil {
		return missing
	}
	v, err := strconv.Atoi(n.Str())
	if err != nil || v < 0 || v > 1<<16 {
		k.r.fault(n, "%s: expected a number from 0 to 65536, found %s", key, n.Str())
	}
	return v
}

// texts gives a list of texts; a single text is a list of one.
func (k *keys) texts(key string) []string {
	n := k.node(key)
	if n == nil {
		return nil
	}
	if n.Kind == yaml11.String {
		return []string{n.Raw}
	}
	list, err := n.Texts()
	if err != nil {
		k.r.fault(n, "%s: %s", key, message(err))
	}
	return list
}

// warnOfOthers warns of every key that nobody asked for. diskimage-builder
// takes no notice of them, so configurations in use have some.
func (k *keys) warnOfOthers() {
	for _, p := range k.e.keys {
		if !k.used[p.Key.Raw] {
			k.r.warn(p.Key, "%s %s: the key %q is not known and has no effect; known are %s",
				k.e.plugin, k.e.name, p.Key.Str(), strings.Join(slices.Sorted(maps.Keys(k.used)), ", "))
		}
	}
}

// message gives an error without its place, which the caller knows better.
func message(err error) string {
	if e := new(yaml11.Error); errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
