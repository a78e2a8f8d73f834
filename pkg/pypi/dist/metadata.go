package dist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/version"
)

// Metadata is what an index and a resolver want of a distribution's METADATA.
type Metadata struct {
	Name           string
	Version        version.Version
	RequiresDist   []string
	RequiresPython string
	ProvidesExtra  []string
	Format         string   // Metadata-Version
	Dynamic        []string // fields that a build may change, in lower case
}

// MaxMetadata bounds METADATA; a long description is a few hundred kilobytes.
const MaxMetadata = 16 << 20

// ParseMetadata reads METADATA or PKG-INFO: headers as of a mail, of which the
// body is passed over.
func ParseMetadata(text []byte) (*Metadata, error) {
	if len(text) > MaxMetadata {
		return nil, fmt.Errorf("metadata of %d bytes is too large", len(text))
	}
	m := &Metadata{}
	var rawVersion string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, MaxMetadata+1)
	var last *string
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' { // the line before goes on
			if last != nil {
				*last += " " + strings.TrimSpace(line)
			}
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			last = nil
			continue
		}
		last = m.field(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value), &rawVersion)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	return m, m.finish(rawVersion)
}

// field notes a header and gives where its continuation goes.
func (m *Metadata) field(key, value string, rawVersion *string) *string {
	list := func(l *[]string) *string {
		*l = append(*l, value)
		return &(*l)[len(*l)-1]
	}
	one := func(s *string) *string {
		if *s == "" {
			*s = value
		}
		return s
	}
	switch key {
	case "metadata-version":
		return one(&m.Format)
	case "name":
		return one(&m.Name)
	case "version":
		return one(rawVersion)
	case "requires-python":
		return one(&m.RequiresPython)
	case "requires-dist":
		return list(&m.RequiresDist)
	case "provides-extra":
		return list(&m.ProvidesExtra)
	case "dynamic":
		value = strings.ToLower(value)
		return list(&m.Dynamic)
	}
	return nil
}

func (m *Metadata) finish(rawVersion string) error {
	if !ValidName(m.Name) {
		return fmt.Errorf("metadata names no project, but %q", m.Name)
	}
	v, err := version.Parse(rawVersion)
	if err != nil {
		return fmt.Errorf("metadata of %s: %w", m.Name, err)
	}
	m.Version = v
	return nil
}

// Settled tells whether the dependencies in the metadata of an sdist are those
// that a build of it will have.
func (m *Metadata) Settled() bool {
	v, err := version.Parse(m.Format)
	if err != nil || version.Compare(v, settledFormat()) < 0 {
		return false
	}
	for _, d := range m.Dynamic {
		if d == "requires-dist" {
			return false
		}
	}
	return true
}

// settledFormat is the first Metadata-Version whose sdists are to be believed.
func settledFormat() version.Version {
	v, err := version.Parse("2.2")
	if err != nil {
		panic("bug: " + err.Error())
	}
	return v
}

// ErrNoMetadata tells that an archive has no METADATA or PKG-INFO at its place.
var ErrNoMetadata = errors.New("no metadata in it")

// check makes sure that the metadata is of the file that it was found in.
func (m *Metadata) check(n Name) error {
	if Normalise(m.Name) != n.Project || version.Compare(m.Version, n.Version) != 0 {
		return fmt.Errorf("%s says that it is %s %s", n.File, m.Name, m.Version)
	}
	return nil
}
