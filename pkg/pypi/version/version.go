// Package version compares the versions of Python packages and tells which a
// specifier takes, as the version specifiers specification (PEP 440) has it.
//
// It knows nothing of files, names or indexes. Legacy versions, which are not of
// PEP 440, are refused.
package version

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Version is one version, in parts. The zero value is none.
type Version struct {
	epoch   string
	release []string // numbers, without leading zeros, of any length
	pre     label    // a, b or rc
	post    string
	dev     string
	local   []string
	hasPost bool
	hasDev  bool
}

// label is a letter and its number: rc1.
type label struct{ letter, number string }

// pattern is the grammar of PEP 440's appendix B, its words in our order.
var pattern = regexp.MustCompile(`(?i)^\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)` +
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?` +
	`(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?` +
	`(?:[-_.]?(dev)[-_.]?(\d*))?` +
	`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*$`)

// maxLength bounds what is taken for a version: comparing is not for novels.
const maxLength = 512

// Parse reads one version, in any of the spellings that PEP 440 allows.
func Parse(text string) (Version, error) {
	if len(text) > maxLength {
		return Version{}, fmt.Errorf("a version of %d characters is none", len(text))
	}
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("%q is no version", text)
	}
	v := Version{epoch: number(m[1])}
	for part := range strings.SplitSeq(m[2], ".") {
		v.release = append(v.release, number(part))
	}
	if m[3] != "" {
		v.pre = label{preLetter(m[3]), number(m[4])}
	}
	if m[5] != "" || m[6] != "" {
		v.hasPost, v.post = true, number(m[5]+m[7])
	}
	if m[8] != "" {
		v.hasDev, v.dev = true, number(m[9])
	}
	if m[10] != "" {
		v.local = localParts(m[10])
	}
	return v, nil
}

func localParts(text string) []string {
	parts := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return strings.ContainsRune("-_.", r) })
	for i, p := range parts {
		if isNumber(p) {
			parts[i] = number(p)
		}
	}
	return parts
}

func preLetter(word string) string {
	switch strings.ToLower(word) {
	case "a", "alpha":
		return "a"
	case "b", "beta":
		return "b"
	}
	return "rc"
}

// number is a decimal number as it is compared: no leading zeros, and 0 for none.
func number(text string) string {
	if text = strings.TrimLeft(text, "0"); text == "" {
		return "0"
	}
	return text
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// compareNumbers compares numbers of any length.
func compareNumbers(a, b string) int {
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// String is the canonical spelling.
func (v Version) String() string {
	return v.Public() + v.localSuffix()
}

func (v Version) localSuffix() string {
	if v.local == nil {
		return ""
	}
	return "+" + strings.Join(v.local, ".")
}

// Public is the version without its local part.
func (v Version) Public() string {
	var b strings.Builder
	if v.epoch != "0" && v.epoch != "" {
		b.WriteString(v.epoch + "!")
	}
	b.WriteString(strings.Join(v.release, "."))
	b.WriteString(v.pre.letter + v.pre.number)
	if v.hasPost {
		b.WriteString(".post" + v.post)
	}
	if v.hasDev {
		b.WriteString(".dev" + v.dev)
	}
	return b.String()
}

// IsZero tells that v is no version at all.
func (v Version) IsZero() bool { return v.release == nil }

// IsPrerelease tells whether v comes before a release: an alpha, beta, release
// candidate or a development version.
func (v Version) IsPrerelease() bool { return v.pre.letter != "" || v.hasDev }

// Compare orders versions: negative when a is the older.
func Compare(a, b Version) int {
	if c := comparePublic(a, b); c != 0 {
		return c
	}
	return compareLocal(a.local, b.local)
}

func comparePublic(a, b Version) int {
	if c := compareNumbers(a.epoch, b.epoch); c != 0 {
		return c
	}
	if c := compareRelease(a.release, b.release); c != 0 {
		return c
	}
	if c := cmp.Compare(a.preRank(), b.preRank()); c != 0 {
		return c
	}
	if c := compareNumbers(a.pre.number, b.pre.number); c != 0 {
		return c
	}
	if c := compareOptional(a.hasPost, a.post, b.hasPost, b.post); c != 0 {
		return c
	}
	return compareDev(a, b)
}

// preRank puts 1.0.dev1 before 1.0a1, and that before 1.0.
func (v Version) preRank() int {
	switch {
	case v.pre.letter == "" && !v.hasPost && v.hasDev:
		return 0
	case v.pre.letter == "":
		return 4
	}
	return map[string]int{"a": 1, "b": 2, "rc": 3}[v.pre.letter]
}

// compareRelease compares release numbers, of which trailing zeros mean nothing.
func compareRelease(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if c := compareNumbers(part(a, i), part(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

func part(release []string, i int) string {
	if i < len(release) {
		return release[i]
	}
	return "0"
}

// compareOptional compares numbers of which absence is less than any.
func compareOptional(hasA bool, a string, hasB bool, b string) int {
	switch {
	case hasA && hasB:
		return compareNumbers(a, b)
	case hasA:
		return 1
	case hasB:
		return -1
	}
	return 0
}

// compareDev puts development versions before what they lead to.
func compareDev(a, b Version) int {
	switch {
	case a.hasDev && b.hasDev:
		return compareNumbers(a.dev, b.dev)
	case a.hasDev:
		return -1
	case b.hasDev:
		return 1
	}
	return 0
}

// compareLocal compares local versions: none first, words before numbers.
func compareLocal(a, b []string) int {
	return slices.CompareFunc(a, b, func(x, y string) int {
		nx, ny := isNumber(x), isNumber(y)
		switch {
		case nx && ny:
			return compareNumbers(x, y)
		case nx:
			return 1
		case ny:
			return -1
		}
		return cmp.Compare(x, y)
	})
}
