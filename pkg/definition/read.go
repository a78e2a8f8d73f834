package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// File is a file of definitions; Name is what errors call it.
type File struct {
	Name string
	Data []byte
}

// Image is one image to build.
type Image struct {
	Name    string // as the definitions name it, image where they do not
	Ramdisk bool
	Clear   bool       // the variables of the caller are not for the build
	Environ []Variable // to export, in order
	Args    []string   // of disk-image-create, or of ramdisk-image-create
}

// Variable is a name with its value.
type Variable struct{ Name, Value string }

// value is what an entry, or several that are merged, say of one property.
type value struct {
	text  string // of a Number too
	on    bool
	count int
	list  []string
	pairs []Variable
}

// entry is one map of a file, or several that are merged.
type entry map[string]value

// Read reads files as one list and gives the images in the order in which their
// names first appear. Its error joins an [*yaml11.Error] for every fault; warnings
// tell, in the same form, of what is most likely not meant so.
func Read(files ...File) (found []Image, warnings []error, err error) {
	var r reader
	for _, file := range files {
		r.file(file)
	}
	if err := errors.Join(r.faults...); err != nil {
		return nil, r.warnings, err
	}
	return images(r.entries), r.warnings, nil
}

// reader gathers what files hold.
type reader struct {
	entries          []entry
	faults, warnings []error
}

func (r *reader) fault(err error) { r.faults = append(r.faults, err) }

func (r *reader) file(file File) {
	root, err := yaml11.Parse(file.Name, file.Data)
	if err != nil {
		r.fault(err)
		return
	}
	if root.Kind == yaml11.Null {
		r.fault(root.Errorf("expected a list of images, found nothing"))
		return
	}
	items, err := root.List()
	if err != nil {
		r.fault(root.Errorf("expected a list of images, each a map that begins with \"- \", found %s", root.Kind))
		return
	}
	for _, item := range items {
		r.entry(item)
	}
}

func (r *reader) entry(n *yaml11.Node) {
	pairs, err := n.Entries()
	if err != nil {
		r.fault(n.Errorf("expected an image, a map with keys as %s and %s, found %s", keyName, keyElements, n.Kind))
		return
	}
	r.warnOfTwice(n)
	e := entry{}
	properties := Properties()
	for _, pair := range pairs {
		i := slices.IndexFunc(properties, func(p Property) bool { return pair.Key.Kind == yaml11.String && p.Key == pair.Key.Raw })
		if i < 0 {
			r.fault(unknownKey(pair.Key))
			continue
		}
		p := properties[i]
		v, faults := p.read(pair.Value)
		r.faults = append(r.faults, named(p, faults)...)
		r.warnOfTwice(pair.Value)
		e[p.Key] = v
	}
	r.entries = append(r.entries, e)
}

// warnOfTwice tells of keys of a map that are there twice: the later ones count.
func (r *reader) warnOfTwice(n *yaml11.Node) {
	for _, pair := range n.Overridden {
		r.warnings = append(r.warnings, pair.Key.Errorf("the key %s comes again further down, and only the last one counts", shorten(pair.Key.Raw)))
	}
}

// unknownKey names the keys that there are, or the one that was meant.
func unknownKey(key *yaml11.Node) error {
	var keys []string
	for _, p := range Properties() {
		if near(p.Key, key.Raw) {
			return key.Errorf("an image has no key %s; did you mean %s?", shorten(key.Raw), p.Key)
		}
		keys = append(keys, p.Key)
	}
	return key.Errorf("an image has no key %s; its keys are %s", shorten(key.Raw), strings.Join(keys, ", "))
}

// named puts the key and what it may hold into the errors of a value.
func named(p Property, faults []error) []error {
	for i, err := range faults {
		var fault *yaml11.Error
		if errors.As(err, &fault) {
			told := *fault
			told.Message = fmt.Sprintf("%s: %s", p.Key, fault.Message)
			faults[i] = &told
		}
	}
	return faults
}

// read reads a value, and checks it as the schema would.
func (p Property) read(n *yaml11.Node) (v value, faults []error) {
	var err error
	switch p.Kind {
	case Text:
		v.text, err = p.text(n)
	case Flag:
		v.on, err = n.Bool()
	case Count:
		var count int64
		count, err = whole(n)
		if err != nil || count < 0 || count > maxCount {
			err = p.wanted(n)
		}
		v.count = int(count)
	case Number:
		var number int64
		number, err = whole(n)
		if err != nil || number < 1 {
			err = p.wanted(n)
		}
		v.text = n.Str()
	case List:
		return p.list(n)
	case Map:
		return p.pairs(n)
	}
	if err != nil {
		faults = []error{err}
	}
	return v, faults
}

// wanted is the error for a value that the property cannot hold.
func (p Property) wanted(n *yaml11.Node) error {
	found := n.Kind.String()
	if n.Kind != yaml11.Null && n.Kind != yaml11.List && n.Kind != yaml11.Map {
		found += " (" + shorten(n.Raw) + ")"
	}
	return n.Errorf("expected %s, found %s", p.Allowed(), found)
}

// whole gives a whole number, which may be written with zeros behind a point.
func whole(n *yaml11.Node) (int64, error) {
	if n.Kind != yaml11.Float {
		return n.Int()
	}
	f, err := n.Float()
	const most = 1 << 53
	if err != nil || f != f || f > most || f < -most || f != float64(int64(f)) {
		return 0, n.Errorf("%s is not whole", n.Raw)
	}
	return int64(f), nil
}

// text gives a text that the property, or an item of it, may be.
func (p Property) text(n *yaml11.Node) (string, error) {
	text, err := n.Text()
	if err == nil && p.Choices != nil && !slices.Contains(p.Choices, text) {
		err = n.Errorf("%s is not allowed; choose of %s", shorten(text), strings.Join(p.Choices, ", "))
	}
	if err == nil && strings.ContainsRune(text, 0) {
		err = n.Errorf("a text with a NUL character is not allowed")
	}
	return text, err
}

func (p Property) list(n *yaml11.Node) (v value, faults []error) {
	items, err := n.List()
	if err != nil {
		return v, []error{p.wanted(n)}
	}
	for _, item := range items {
		text, err := p.text(item)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		v.list = append(v.list, text)
	}
	return v, faults
}

func (p Property) pairs(n *yaml11.Node) (v value, faults []error) {
	pairs, err := n.Entries()
	if err != nil {
		return v, []error{p.wanted(n)}
	}
	for _, pair := range pairs {
		name, err := p.text(pair.Key)
		if err == nil && p.Key == keyEnvironment && (name == "" || strings.Contains(name, "=")) {
			err = pair.Key.Errorf("%q cannot be the name of a variable", name)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		text, err := p.text(pair.Value)
		if err != nil {
			faults = append(faults, named(Property{Key: shorten(name)}, []error{err})...)
			continue
		}
		v.pairs = append(v.pairs, Variable{name, text})
	}
	return v, faults
}

// shorten keeps a message readable whatever the file holds.
func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	if s == "" {
		return `""`
	}
	return s
}

// near tells whether two keys differ in what a slip of the fingers gives: case,
// underlines, and one letter too many, too few or other.
func near(key, written string) bool {
	if len(written) > 2*len(key) {
		return false
	}
	written = strings.ReplaceAll(strings.ToLower(written), "_", "-")
	if strings.ReplaceAll(key, "-", "") == strings.ReplaceAll(written, "-", "") {
		return true
	}
	head := 0
	for head < len(key) && head < len(written) && key[head] == written[head] {
		head++
	}
	a, b := key[head:], written[head:]
	rest := func(s string) string { return s[min(1, len(s)):] }
	return len(key) > 3 && (rest(a) == b || a == rest(b) || rest(a) == rest(b))
}
