package layout_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
)

// question is a configuration to ask diskimage-builder about.
type question struct {
	YAML    string            `json:"yaml"`
	Size    string            `json:"size"`
	Params  map[string]any    `json:"params"`
	Environ map[string]string `json:"environ"`
}

// answer is what testdata/upstream.py says of it.
type answer struct {
	Graph    []any
	Values   map[string]string
	State    map[string]any
	Fstab    string
	Places   map[string][][5]int64 // number, start, length, type, flags; in sectors
	Sizes    map[string]int64
	Commands [][]string
	Error    []string // name and words of the exception
}

func ask(t *testing.T, checkout, python string, questions []question) []answer {
	t.Helper()
	for i := range questions {
		if questions[i].Environ == nil {
			questions[i].Environ = map[string]string{}
		}
		params := map[string]any{"root-fs-type": "ext4", "root-label": nil}
		maps.Copy(params, questions[i].Params)
		questions[i].Params = params
	}
	var answers []answer
	judge.Ask(t, python, 0, questions, &answers, "testdata/upstream.py", checkout)
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// known are configurations of diskimage-builder itself, by file name.
func known(t *testing.T, checkout string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"diskimage_builder/block_device/tests/config/*.yaml", "diskimage_builder/elements/*/block-device-*.yaml"} {
		names, err := filepath.Glob(filepath.Join(checkout, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s is no checkout of diskimage-builder: no %s", checkout, pattern)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			// mkfs takes none of these for a UUID.
			for i, word := range []string{"root-uuid-1234", "var-uuid-1234", "swap-uuid-1234"} {
				text = strings.ReplaceAll(text, word, fmt.Sprintf("6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c000%d", i))
			}
			found[strings.TrimPrefix(name, checkout)] = text
		}
	}
	return found
}

func TestConfigurationsOfDiskimageBuilderBecomeWhatItsOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "networkx", "stevedore", "yaml")
	files := known(t, checkout)
	if len(files) < 25 {
		t.Errorf("only %d configurations were found", len(files))
	}
	var names []string
	var questions []question
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for _, q := range []question{
			{Size: "5GiB"},
			{Size: "42GiB"},
			{Size: "6291456KiB", Params: map[string]any{"root-fs-type": "xfs"}},
			{Size: "5000000000", Params: map[string]any{"root-label": "mine", "root-fs-type": "ext3"}, Environ: map[string]string{"DIB_BLOCK_SIZE": "4096"}},
		} {
			q.YAML = files[name]
			names, questions = append(names, name), append(questions, q)
		}
	}
	answers := ask(t, checkout, python, questions)
	for i, a := range answers {
		compare(t, names[i], questions[i], a)
	}
	seesADifference(t, questions, answers)
}

// seesADifference plants differences, each of which must be told.
func seesADifference(t *testing.T, questions []question, answers []answer) {
	t.Helper()
	i := slices.IndexFunc(answers, func(a answer) bool { return a.Error == nil && len(a.Places["image0"]) > 0 })
	p := read(t, questions[i].YAML, layout.Defaults{FSType: "ext4"})
	size, _ := layout.ParseSize(questions[i].Size)
	disks, _, err := p.FitAll(func(*layout.Image) int64 { return size }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, plant := range map[string]func(a *answer){
		"graph": func(a *answer) { a.Graph = a.Graph[1:] }, "state": func(a *answer) { a.State["more"] = 1 },
		"fstab": func(a *answer) { a.Fstab += "x" }, "root-label": func(a *answer) { a.Values["root-label"] = "x" },
		"devices":              func(a *answer) { a.Values["image-block-devices"] += "  x" },
		"size of image0":       func(a *answer) { a.Sizes["image0"] += 512 },
		"partitions of image0": func(a *answer) { a.Places["image0"][0][1]++ },
	} {
		a := answers[i]
		a.State, a.Values, a.Sizes = maps.Clone(a.State), maps.Clone(a.Values), maps.Clone(a.Sizes)
		a.Places = map[string][][5]int64{"image0": slices.Clone(a.Places["image0"])}
		plant(&a)
		var told []string
		fail := func(what string, _, _ any) { told = append(told, what) }
		comparePlans(fail, p, a)
		compareDisks(fail, disks, a)
		if !slices.Equal(told, []string{what}) {
			t.Errorf("of a planted difference in %s is told: %q", what, told)
		}
	}
}

func TestConfigurationsMadeUpBecomeWhatDiskimageBuildersOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "networkx", "stevedore", "yaml")
	random := rand.New(rand.NewPCG(1, 2))
	var questions []question
	for range 400 {
		questions = append(questions, question{YAML: madeUp(random), Size: fmt.Sprintf("%dKiB", 200_000+random.IntN(20_000_000))})
	}
	made := 0
	for i, a := range ask(t, checkout, python, questions) {
		if compare(t, fmt.Sprintf("configuration %d", i), questions[i], a) {
			made++
		}
	}
	if made < len(questions)/3 {
		t.Errorf("only %d of %d configurations hold", made, len(questions))
	}
}

// compare holds what we make of a configuration against what diskimage-builder
// makes of it. It tells whether both make disks of it.
func compare(t *testing.T, name string, q question, a answer) bool {
	t.Helper()
	fail := func(what string, got, want any) {
		t.Helper()
		t.Errorf("%s at %s %v %v: %s\n  here     %v\n  upstream %v\n%s", name, q.Size, q.Params, q.Environ, what, got, want, q.YAML)
	}
	size, err := layout.ParseSize(q.Size)
	if err != nil {
		t.Fatal(err)
	}
	defaults := layout.Defaults{FSType: q.Params["root-fs-type"].(string)}
	defaults.RootLabel, _ = q.Params["root-label"].(string)
	defaults.SectorSize, _ = strconv.ParseInt(q.Environ["DIB_BLOCK_SIZE"], 10, 64)
	p, err := layout.Read("f.yaml", []byte(q.YAML), defaults)
	var disks []*layout.Disk
	if err == nil {
		disks, _, err = p.FitAll(func(*layout.Image) int64 { return size }, nil)
	}
	switch {
	case a.Error != nil && err == nil:
		if !roundedUp(disks) {
			fail("errors", "none", a.Error)
		}
	case a.Error != nil:
		if cause := cause(a.Error); !strings.Contains(err.Error(), cause) && !anotherCause(err) {
			fail("errors", err, cause)
		}
	case err != nil:
		if !onlyHere(err) {
			fail("errors", err, "none")
		}
	default:
		comparePlans(fail, p, a)
		compareDisks(fail, disks, a)
		return true
	}
	return false
}

// cause is what must be told of an exception of diskimage-builder: the words of
// those that it raises itself, apart from the Python in them. The others tell a
// user nothing.
func cause(e []string) string {
	words, _, _ := strings.Cut(e[1], ": {")
	if e[0] != "BlockDeviceSetupException" || strings.HasPrefix(words, "exec_sudo failed") {
		return ""
	}
	return words
}

// anotherCause tells that a configuration has several faults, of which another
// than diskimage-builder's was met first: one that it tells in the same words.
func anotherCause(err error) bool {
	return slices.ContainsFunc([]string{
		"Duplicate node name: ", "Edge not defined: ", "Unknown flag: ", "Label must be 'mbr' or 'gpt'", "too long for filesystem",
		"used more than once", "specified more than once", "Primary flag not supported", "does not match a valid", "Missing 'size' or 'extents'",
	}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// roundedUp tells that a disk was made of whole sectors: a table on another one
// ends diskimage-builder.
func roundedUp(disks []*layout.Disk) bool {
	return slices.ContainsFunc(disks, func(d *layout.Disk) bool { return d.Image.Size%d.Image.SectorSize != 0 })
}

// onlyHere tells of an error whether diskimage-builder would have met it later,
// from a program that it did not run here, or not at all.
func onlyHere(err error) bool {
	return slices.ContainsFunc([]string{
		"of type thin is not made", "of type thin-pool is not made", // we make none
		"more than the ",                        // there may be no room in an MBR, where it does not look, and in a volume group
		"which is less than an extent",          // lvcreate
		"smaller than 1 MiB", "less than 1 MiB", // sgdisk
		"smaller than 512 bytes", "smaller than 4 KiB", "less than 512 bytes", "less than 4 KiB", // no such partition can be
		"align must be a multiple of 4096", // it writes a table for sectors of 512 bytes
		"four primary partitions", "nothing is mounted at /", "no local_loop is called image0",
	}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

func comparePlans(fail func(what string, got, want any), p *layout.Plan, a answer) {
	graph, err := p.Graph()
	same(fail, "graph", graph, err, a.Graph)
	p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
	state, err := p.State(layout.StateDirs{Images: "DIR/image", Mounts: "DIR/mnt"})
	same(fail, "state", withoutUUIDs(state), err, a.State)
	if got := strings.ReplaceAll(p.Fstab(), `\040`, " "); got != a.Fstab {
		fail("fstab", got, a.Fstab)
	}
	for symbol, got := range map[string]string{
		"root-label": p.RootLabel(), "root-fstype": p.RootFSType(), "boot-label": p.BootLabel(), "mount-points": p.MountPoints(),
		"image-block-device": p.BlockDevices()["IMAGE_BLOCK_DEVICE"],
	} {
		// It fails without a label of the root, and tells labels of FAT as they
		// were written and not as they are on disk.
		if want := a.Values[symbol]; !strings.EqualFold(got, want) && want != "KeyError" {
			fail(symbol, got, want)
		}
	}
	words := func(text string) []string { return slices.Sorted(strings.SplitSeq(strings.TrimSpace(text), "  ")) }
	if got, want := words(p.ImageBlockDevices()), words(a.Values["image-block-devices"]); !slices.Equal(got, want) {
		fail("devices", got, want)
	}
}

// same compares what two texts of JSON mean.
func same(fail func(what string, got, want any), what string, data []byte, err error, want any) {
	var got any
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if m, ok := want.(map[string]any); ok {
		for _, f := range m["filesys"].(map[string]any) {
			delete(f.(map[string]any), "uuid")
		}
		want = m
	} else if l, ok := want.([]any); ok {
		want = l
	}
	if err != nil || !reflect.DeepEqual(got, normal(want)) {
		text, _ := json.Marshal(want)
		fail(what, fmt.Sprintf("%s %v", data, err), string(text))
	}
}

// normal gives a value the types that encoding/json chooses.
func normal(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

// withoutUUIDs leaves out what is random there.
func withoutUUIDs(state []byte) []byte {
	var m map[string]any
	if err := json.Unmarshal(state, &m); err != nil {
		return nil
	}
	for _, f := range m["filesys"].(map[string]any) {
		delete(f.(map[string]any), "uuid")
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return data
}

func compareDisks(fail func(what string, got, want any), disks []*layout.Disk, a answer) {
	gpts := sgdiskSizes(a.Commands)
	loop := 0
	for _, d := range disks {
		// Its own sizes are not rounded to sectors, of which a disk is made.
		if want := (a.Sizes[d.Image.Name] + d.Image.SectorSize - 1) / d.Image.SectorSize * d.Image.SectorSize; d.Size != want {
			fail("size of "+d.Image.Name, d.Size, want)
		}
		var got, want []string
		switch {
		case d.Image.Table == nil:
		case d.Image.Table.Label == layout.GPT:
			for _, part := range d.Parts {
				got = append(got, fmt.Sprintf("%d:%dM %s %s", part.Number, part.Length>>20, part.Partition.Type, part.Partition.Name))
			}
			if loop < len(gpts) {
				want = gpts[loop]
			}
			loop++
		case d.Image.SectorSize == 512:
			got, want = mbrPlaces(d), upstreamPlaces(a.Places[d.Image.Name])
		}
		if !slices.Equal(got, want) {
			fail("partitions of "+d.Image.Name, got, want)
		}
	}
}

func mbrPlaces(d *layout.Disk) []string {
	var all []string
	for _, part := range d.Parts {
		flag := 0
		if part.Partition.Boot {
			flag = 0x80
		}
		all = append(all, fmt.Sprintf("%d:%d+%d %s %02x", part.Number, part.Offset/512, part.Length/512, part.Partition.Type, flag))
	}
	return all
}

func upstreamPlaces(places [][5]int64) []string {
	var all []string
	for _, e := range places {
		if e[3] != 0x0F { // the extended partition comes of the logical ones
			all = append(all, fmt.Sprintf("%d:%d+%d %02X %02x", e[0], e[1], e[2], e[3], e[4]))
		}
	}
	return all
}

// sgdiskSizes gives the partitions that each call of sgdisk asks for.
func sgdiskSizes(commands [][]string) [][]string {
	var all [][]string
	for _, c := range commands {
		if c[0] != "sgdisk" {
			continue
		}
		var parts []string
		for i := 2; i+5 < len(c); i += 6 {
			number, size, _ := strings.Cut(c[i+1], ":0:+")
			_, kind, _ := strings.Cut(c[i+3], ":")
			_, name, _ := strings.Cut(c[i+5], ":")
			parts = append(parts, fmt.Sprintf("%s:%s %s %s", number, size, kind, name))
		}
		all = append(all, parts)
	}
	return all
}

// madeUp makes a configuration, mostly one that holds.
func madeUp(r *rand.Rand) string {
	m := &maker{Rand: r}
	m.line(0, "- local_loop:")
	m.line(4, "name: image0")
	m.maybe(5, 4, "size: "+m.size())
	m.maybe(8, 4, "block_size: "+m.one("512", "4096", "'512'"))
	label := m.one("gpt", "mbr")
	m.line(0, "- partitioning:")
	m.line(4, "base: "+m.usually("image0", "image1"))
	m.line(4, "label: "+m.usually(label, "xpt"))
	m.maybe(4, 4, "align: "+m.one("2MiB", "64KiB", "1MB", "4096"))
	m.line(4, "partitions:")
	primary := m.IntN(4)
	for i := range 1 + m.IntN(5) {
		m.partition(i, label, i < primary)
	}
	if m.IntN(3) == 0 {
		m.lvm()
	}
	return m.String()
}

type maker struct {
	*rand.Rand
	strings.Builder
}

func (m *maker) line(indent int, text string) {
	m.WriteString(strings.Repeat(" ", indent) + text + "\n")
}

// maybe writes a line once in n times.
func (m *maker) maybe(n, indent int, text string) {
	if m.IntN(n) == 0 {
		m.line(indent, text)
	}
}

func (m *maker) one(texts ...string) string { return texts[m.IntN(len(texts))] }

// usually gives the first text but for once in forty times.
func (m *maker) usually(text, other string) string {
	if m.IntN(40) == 0 {
		return other
	}
	return text
}

func (m *maker) size() string {
	return m.one("", strconv.Itoa(1+m.IntN(30))+".") + strconv.Itoa(1+m.IntN(300)) + m.one("", " ") + m.one("MiB", "MB", "M", "GiB", "KiB", "K", "GB")
}

func (m *maker) partition(i int, label string, primary bool) {
	point := []string{"/", "/boot", "/var", "/var/log", "/home/x"}[i]
	m.line(6, fmt.Sprintf("- name: %s", m.usually(fmt.Sprintf("part%d", i), "part0")))
	m.line(8, "size: "+m.one(fmt.Sprintf("%d%%", 1+m.IntN(99)), fmt.Sprintf("%d.%d%%", m.IntN(100), m.IntN(100)), m.size(), "50%", "30MiB"))
	switch {
	case label == "gpt":
		m.maybe(3, 8, "type: "+m.one("'EF00'", "8300", "EF02", "'8200'"))
		m.maybe(4, 8, "flags: [boot]")
		m.maybe(60, 8, "flags: [primary]")
	case primary:
		m.line(8, "flags: "+m.one("[primary]", "[boot, primary]"))
		m.maybe(3, 8, "type: "+m.one("'0x82'", "'c'", "'0xEE'"))
	default:
		m.maybe(4, 8, "flags: "+m.usually("[boot]", "[hidden]"))
	}
	m.maybe(20, 8, "mystery: [1, 0x10, yes, 2.5]")
	kind := m.one("ext4", "ext4", "ext3", "xfs", "vfat", "swap")
	if i == 0 && kind == "swap" {
		kind = "ext4"
	}
	if i > 0 && m.IntN(4) == 0 {
		return
	}
	m.line(8, "mkfs:")
	m.maybe(3, 10, "name: "+m.one("mkfs_root", fmt.Sprintf("fs%d", i)))
	m.line(10, "type: "+kind)
	m.maybe(4, 10, "label: "+m.one("mine", "other", strings.Repeat("x", 12), strings.Repeat("y", 17)))
	m.maybe(4, 10, "opts: "+m.one("-m 0", "-b 4096 -q"))
	if kind == "swap" {
		point = "none"
	}
	if i > 0 && m.IntN(5) == 0 {
		return
	}
	m.line(10, "mount:")
	m.line(12, "mount_point: "+m.usually(point, "/var"))
	if m.IntN(4) != 0 {
		m.line(12, "fstab:")
		m.maybe(2, 14, "options: noatime")
		m.maybe(3, 14, "fsck-passno: 1")
		m.line(14, "dump-freq: "+strconv.Itoa(m.IntN(2)))
	}
}

// lvm puts volumes on an image of its own.
func (m *maker) lvm() {
	m.line(0, "- local_loop: {name: data, size: 2GiB}")
	m.line(0, "- lvm:")
	m.line(4, "name: lvm")
	m.line(4, "pvs: [{name: pv, base: data"+m.one("", ", options: ['--force']")+"}]")
	m.line(4, "vgs: [{name: vg, base: ["+m.usually("pv", "pw")+"]"+m.one("", ", options: ['--force', '-s', '8M']")+"}]")
	m.line(4, "lvs:")
	for i := range 1 + m.IntN(3) {
		size := m.usually(m.one(", size: "+strconv.Itoa(9+m.IntN(500))+m.one("M", "MiB"), ", extents: "+strconv.Itoa(1+m.IntN(30))+"%"+m.one("VG", "FREE")), "")
		m.line(6, fmt.Sprintf("- {name: lv%d, base: %s%s}", i, m.usually("vg", "vh"), size))
	}
	m.line(0, "- mkfs: {base: lv0, type: ext4, mount: {mount_point: /lv, fstab: {}}}")
}
