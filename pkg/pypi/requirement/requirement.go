// Package requirement reads what is asked of Python packages: requirements with
// extras, conditions and markers (PEP 508), and files of them as pip takes.
//
// It resolves nothing and fetches nothing.
package requirement

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/version"
)

// Requirement asks for one project.
type Requirement struct {
	Name   string // normalised
	Extras []string
	Spec   version.Specifiers
	URL    string // of "name @ URL"
	Marker Marker
}

// maxLength bounds one requirement.
const maxLength = 16 << 10

var headPattern = regexp.MustCompile(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*`)

// Parse reads one requirement.
func Parse(text string) (Requirement, error) {
	if len(text) > maxLength {
		return Requirement{}, fmt.Errorf("a requirement of %d characters is none", len(text))
	}
	m := headPattern.FindStringSubmatch(text)
	if m == nil || !dist.ValidName(m[1]) {
		return Requirement{}, fmt.Errorf("%q begins with no project's name", short(text))
	}
	r := Requirement{Name: dist.Normalise(m[1])}
	if err := r.extras(m[2]); err != nil {
		return Requirement{}, err
	}
	rest := text[len(m[0]):]
	if url, ok := strings.CutPrefix(rest, "@"); ok {
		return r, r.direct(strings.TrimSpace(url))
	}
	spec, marker, marked := strings.Cut(rest, ";")
	spec = strings.TrimSpace(spec)
	if inner, ok := strings.CutPrefix(spec, "("); ok {
		if spec, ok = strings.CutSuffix(inner, ")"); !ok {
			return Requirement{}, fmt.Errorf("%q: a bracket is not closed", short(text))
		}
	}
	var err error
	if r.Spec, err = version.ParseSpecifiers(spec); err != nil {
		return Requirement{}, err
	}
	if marked {
		r.Marker, err = ParseMarker(marker)
	}
	return r, err
}

func (r *Requirement) extras(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if !dist.ValidName(item) {
			return fmt.Errorf("%q is no name of an extra", item)
		}
		r.Extras = append(r.Extras, dist.Normalise(item))
	}
	return nil
}

// direct reads URL; marker, where only a blank before the semicolon ends the URL.
func (r *Requirement) direct(text string) error {
	url, marker, marked := strings.Cut(text, " ;")
	if r.URL = strings.TrimSpace(url); r.URL == "" {
		return fmt.Errorf("%s @ names no URL", r.Name)
	}
	var err error
	if marked {
		r.Marker, err = ParseMarker(marker)
	}
	return err
}

func (r Requirement) String() string {
	text := r.Name
	if len(r.Extras) > 0 {
		text += "[" + strings.Join(r.Extras, ",") + "]"
	}
	if r.URL != "" {
		return text + " @ " + r.URL
	}
	return text + r.Spec.String()
}

var user = regexp.MustCompile(`://[^/@]*@`)

// short is a text as an error tells it: not too long, and without a password.
func short(s string) string {
	s = user.ReplaceAllString(s, "://")
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}
