package version

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Specifiers is a list of conditions of which a version must meet all, as
// ">=1.2,!=1.5". The zero value takes every version.
type Specifiers []Specifier

// Specifier is one condition.
type Specifier struct {
	operator string
	text     string // as it is written, for ===
	version  Version
	prefix   bool // ends in .*
}

var specifierPattern = regexp.MustCompile(`^\s*(===|~=|==|!=|<=|>=|<|>)\s*([^\s,]+)\s*$`)

// maxSpecifiers bounds a list.
const maxSpecifiers = 200

// ParseSpecifiers reads a list of conditions separated by commas.
func ParseSpecifiers(text string) (Specifiers, error) {
	var list Specifiers
	for item := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(item) == "" {
			continue // a comma at the end
		}
		s, err := parseSpecifier(item)
		if err != nil {
			return nil, err
		}
		if list = append(list, s); len(list) > maxSpecifiers {
			return nil, fmt.Errorf("more than %d conditions on one version", maxSpecifiers)
		}
	}
	return list, nil
}

func parseSpecifier(item string) (Specifier, error) {
	item = strings.TrimSpace(item)
	m := specifierPattern.FindStringSubmatch(item)
	if m == nil {
		return Specifier{}, fmt.Errorf("%q is no condition on a version", item)
	}
	s := Specifier{operator: m[1], text: m[2]}
	if s.operator == "===" {
		return s, nil
	}
	text, prefix := strings.CutSuffix(m[2], ".*")
	v, err := Parse(text)
	if err != nil {
		return Specifier{}, fmt.Errorf("in %q: %w", item, err)
	}
	s.version, s.prefix = v, prefix
	return s, s.check(item)
}

// check refuses what PEP 440 gives no meaning.
func (s Specifier) check(item string) error {
	equality := s.operator == "==" || s.operator == "!="
	switch {
	case s.prefix && !equality:
		return fmt.Errorf("%q: only == and != take .*", item)
	case s.prefix && (s.version.local != nil || s.version.hasDev):
		return fmt.Errorf("%q: .* cannot follow a local or a development version", item)
	case s.version.local != nil && !equality:
		return fmt.Errorf("%q: only == and != take a local version", item)
	case s.operator == "~=" && len(s.version.release) < 2:
		return fmt.Errorf("%q: ~= takes a version of two numbers or more", item)
	}
	return nil
}

func (s Specifier) String() string { return s.operator + s.text }

func (l Specifiers) String() string {
	var items []string
	for _, s := range l {
		items = append(items, s.String())
	}
	return strings.Join(items, ",")
}

// Exact tells whether the list pins one version, by == or ===.
func (l Specifiers) Exact() bool {
	return slices.ContainsFunc(l, func(s Specifier) bool {
		return s.operator == "===" || s.operator == "==" && !s.prefix
	})
}

// Prereleases tells whether the list itself speaks of a version before a release,
// and so wants them.
func (l Specifiers) Prereleases() bool {
	return slices.ContainsFunc(l, func(s Specifier) bool {
		return s.operator != "!=" && s.operator != "<" && s.operator != ">" && s.version.IsPrerelease()
	})
}

// Contains tells whether v meets every condition. Versions before a release are
// taken like others; whether they are wanted is the caller's to say.
func (l Specifiers) Contains(v Version) bool {
	return !slices.ContainsFunc(l, func(s Specifier) bool { return !s.takes(v) })
}

func (s Specifier) takes(v Version) bool {
	switch s.operator {
	case "===":
		return strings.EqualFold(s.text, v.String())
	case "==":
		return s.equals(v)
	case "!=":
		return !s.equals(v)
	case "~=":
		wanted := s.version
		wanted.release = wanted.release[:len(wanted.release)-1]
		return comparePublic(v, s.version) >= 0 && hasPrefix(v, Version{epoch: wanted.epoch, release: wanted.release})
	case "<=":
		return comparePublic(v, s.version) <= 0
	case ">=":
		return comparePublic(v, s.version) >= 0
	case "<":
		return s.before(v)
	case ">":
		return s.after(v)
	}
	return false
}

func (s Specifier) equals(v Version) bool {
	switch {
	case s.prefix:
		return hasPrefix(v, s.version)
	case s.version.local == nil:
		return comparePublic(v, s.version) == 0
	}
	return Compare(v, s.version) == 0
}

// before is <: 3.1.dev1 is not before 3.1, though it is older.
func (s Specifier) before(v Version) bool {
	if comparePublic(v, s.version) >= 0 {
		return false
	}
	return s.version.IsPrerelease() || !v.IsPrerelease() || !sameBase(v, s.version)
}

// after is >: neither 3.1.post1 nor 3.1+local is after 3.1.
func (s Specifier) after(v Version) bool {
	if comparePublic(v, s.version) <= 0 {
		return false
	}
	return s.version.hasPost || !v.hasPost || !sameBase(v, s.version)
}

func sameBase(a, b Version) bool {
	return compareNumbers(a.epoch, b.epoch) == 0 && compareRelease(a.release, b.release) == 0
}

// hasPrefix tells whether v begins as prefix does, zeros filled in.
func hasPrefix(v, prefix Version) bool {
	if compareNumbers(v.epoch, prefix.epoch) != 0 {
		return false
	}
	for i, wanted := range prefix.release {
		if part(v.release, i) != wanted {
			return false
		}
	}
	if prefix.pre.letter == "" && !prefix.hasPost {
		return true
	}
	if len(v.release) > len(prefix.release) && compareRelease(v.release, prefix.release) != 0 {
		return false
	}
	if v.pre != prefix.pre {
		return false
	}
	return !prefix.hasPost || v.hasPost && v.post == prefix.post
}
