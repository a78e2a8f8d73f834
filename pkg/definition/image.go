package definition

import (
	"regexp"
	"slices"
	"strings"
)

// unnamed is the image of entries before the first that has a name.
const unnamed = "image"

// images merges entries of the same name.
func images(entries []entry) []Image {
	merged := map[string]entry{}
	var names []string
	name := unnamed
	for _, e := range entries {
		if given, ok := e[keyName]; ok {
			name = given.text
		}
		if merged[name] == nil {
			merged[name] = entry{}
			names = append(names, name)
		}
		merged[name].add(e)
	}
	var all []Image
	for _, name := range names {
		all = append(all, merged[name].image(name))
	}
	return all
}

// add lays another entry over this one.
func (e entry) add(over entry) {
	for _, p := range Properties() {
		v, given := over[p.Key]
		if !given {
			continue
		}
		old := e[p.Key]
		switch p.Kind {
		case List:
			v.list = append(slices.Clone(old.list), v.list...)
		case Map:
			v.pairs = overlay(old.pairs, v.pairs)
		}
		e[p.Key] = v
	}
}

// overlay gives the variables of both; one of over replaces that of its name, in
// the same place.
func overlay(pairs, over []Variable) []Variable {
	out := slices.Clone(pairs)
	for _, v := range over {
		i := slices.IndexFunc(out, func(o Variable) bool { return o.Name == v.Name })
		if i < 0 {
			out = append(out, v)
			continue
		}
		out[i] = v
	}
	return out
}

func (e entry) image(name string) Image {
	image := Image{Name: name, Ramdisk: e[keyRamdisk].on, Clear: e[keyClear].on, Environ: e[keyEnvironment].pairs}
	if name == "" {
		image.Name = unnamed
	}
	for _, p := range Properties() {
		image.Args = append(image.Args, p.args(e[p.Key])...)
	}
	return image
}

// Command gives the line that a shell would build the image with: program is the
// command with its first arguments.
func (i Image) Command(program ...string) string {
	var words []string
	for _, v := range i.Environ {
		words = append(words, v.Name+"="+quote(v.Value))
	}
	for _, arg := range slices.Concat(program, i.Args) {
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

// plain matches words that no shell changes.
var plain = regexp.MustCompile(`^[a-zA-Z0-9@%+=:,./_-]+$`)

// quote puts a word in quotes where a shell needs them, as Python's shlex does.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
}
