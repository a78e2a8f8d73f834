package element

import (
	"errors"
	"slices"
	"strings"
)

// Set is a closed list of elements: everything a build needs, nothing twice.
type Set struct {
	Elements []*Element // sorted by name
	Warnings []string   // an element of the set hides one of the same name
}

// Names gives the names of the elements, sorted.
func (s *Set) Names() []string {
	names := make([]string, len(s.Elements))
	for i, e := range s.Elements {
		names[i] = e.Name
	}
	return names
}

// Lookup gives the element of that name.
func (s *Set) Lookup(name string) (*Element, bool) {
	i, ok := slices.BinarySearchFunc(s.Elements, name, func(e *Element, name string) int {
		return strings.Compare(e.Name, name)
	})
	if !ok {
		return nil, false
	}
	return s.Elements[i], true
}

// ImageElement is the value of IMAGE_ELEMENT.
func (s *Set) ImageElement() string { return strings.Join(s.Names(), " ") }

// YAML is the value of IMAGE_ELEMENT_YAML: a block mapping from name to
// directory, sorted by name.
func (s *Set) YAML() string {
	var b strings.Builder
	for _, e := range s.Elements {
		b.WriteString(yamlScalar(e.Name) + ": " + yamlScalar(e.Dir) + "\n")
	}
	return b.String()
}

// ArrayFunction is the value of BASH_FUNC_get_image_element_array%%: a bash
// function that prints "[name]=directory" of each element, for hooks that do
//
//	eval declare -A elements=($(get_image_element_array))
func (s *Set) ArrayFunction() string {
	var b strings.Builder
	for _, e := range s.Elements {
		b.WriteString("[" + e.Name + "]=" + shellWord(e.Dir) + " ")
	}
	return "() {  echo " + shellQuote(b.String()) + "\n}"
}

// RefusedHooks says which hooks of the set can never run: those of
// block-device.d, as no block device exists.
func (s *Set) RefusedHooks() error {
	var faults []error
	for _, e := range s.Elements {
		hooks, err := e.Hooks("block-device")
		if err != nil {
			return err
		}
		for _, h := range hooks {
			faults = append(faults, &RefusedHookError{Element: e.Name, Hook: "block-device.d/" + h})
		}
	}
	return errors.Join(faults...)
}

// plain tells whether text means itself both to a shell and as a plain scalar
// of YAML inside a block mapping.
func plain(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !letterOrDigit(r) && !strings.ContainsRune("._/+-", r)
	})
}

// yamlScalar writes text so that every version of YAML reads it as that
// string: plain where no other type is possible, else in double quotes.
func yamlScalar(text string) string {
	first := text[:min(1, len(text))]
	words := []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
	word := first == "/" || plain(first) && strings.ContainsAny(strings.ToLower(first), "abcdefghijklmnopqrstuvwxyz")
	if plain(text) && word && !slices.Contains(words, strings.ToLower(text)) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			b.WriteString(`\x` + string("0123456789abcdef"[r>>4]) + string("0123456789abcdef"[r&15]))
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// shellWord quotes text for a shell where it must be.
func shellWord(text string) string {
	if plain(text) {
		return text
	}
	return shellQuote(text)
}

func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
