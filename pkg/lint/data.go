package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/pkginstall"
	"github.com/dibber-project/dibber/pkg/svcmap"
	"github.com/dibber-project/dibber/pkg/yaml11"
)

// data reads a file of data with what a build reads it with.
func (l *linter) data(f *file) {
	name := f.name()
	switch {
	case name == "pkg-map" && !f.executable():
		l.pkgMap(f)
	case path.Ext(name) == ".yaml":
		if _, err := yaml11.Parse(f.path, f.data); err != nil {
			l.addError(f, "yaml", err)
			return
		}
	}
	if !topOfSource(f.rel) {
		return
	}
	switch {
	case name == "package-installs.yaml" || name == "package-installs.json":
		l.packageInstalls(f)
	case name == "svc-map" && !f.executable():
		_, err := svcmap.Merge([]svcmap.Source{{Name: f.source.Name, Dir: filepath.Dir(f.path)}}, "debian")
		l.addError(f, "svcmap", err)
	case isBlockDevice(name):
		l.blockDevice(f)
	}
}

// topOfSource tells whether a file lies directly in an element or in an element
// for tests.
func topOfSource(rel string) bool {
	parts := strings.Split(rel, "/")
	return len(parts) == 1 || len(parts) == 3 && parts[0] == "test-elements"
}

// packageInstalls squashes the lists of one element alone. Every variable of a
// condition is taken to be set.
func (l *linter) packageInstalls(f *file) {
	set := func(string) (string, bool) { return "", true }
	list, err := pkginstall.Squash([]pkginstall.Source{{Name: f.source.Name, Dir: filepath.Dir(f.path)}}, set)
	l.addError(f, "packageinstalls", err)
	if list != nil {
		l.addWarnings(f, "packageinstalls", list.Warnings)
	}
}

func (l *linter) blockDevice(f *file) {
	plan, err := layout.Read(f.path, f.data, layout.Defaults{})
	l.addError(f, "blockdevice", err)
	if plan == nil {
		return
	}
	l.addWarnings(f, "blockdevice", plan.Warnings)
	l.addError(f, "blockdevice", plan.CheckLVM())
}

// addError notes each fault of an error that has a place in the file; one
// without a place is noted at its start, one about another file not at all.
func (l *linter) addError(f *file, check string, err error) {
	var place *yaml11.Error
	joined, many := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
	case many:
		for _, e := range joined.Unwrap() {
			l.addError(f, check, e)
		}
	case errors.As(err, &place):
		if place.File == f.path {
			l.add(f, Error, check, place.Line, "%s", place.Message)
		}
	default:
		l.add(f, Error, check, 0, "%v", err)
	}
}

// addWarnings notes warnings of the form FILE:LINE:COL: what.
func (l *linter) addWarnings(f *file, check string, warnings []string) {
	place := regexp.MustCompile(`^:([0-9]+):[0-9]+: (.*)`)
	for _, w := range warnings {
		rest, own := strings.CutPrefix(w, f.path)
		if m := place.FindStringSubmatch(rest); own && m != nil {
			number, err := strconv.Atoi(m[1])
			if err != nil {
				number = 0 // beyond any file
			}
			l.add(f, Warning, check, number, "%s", m[2])
		}
	}
}

// pkgMap reads a map of package names: how deep each of its four parts is.
func (l *linter) pkgMap(f *file) {
	r := mapReader{decoder: json.NewDecoder(bytes.NewReader(f.data)), data: f.data}
	if !json.Valid(f.data) {
		var any json.RawMessage
		err := json.Unmarshal(f.data, &any)
		at := int64(0)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = syntax.Offset
		}
		l.add(f, Error, "pkgmap", r.lineAt(at), "not JSON: %v", err)
		return
	}
	if err := r.top(); err != nil {
		l.add(f, Error, "pkgmap", r.line(), "%v", err)
	}
}

// mapReader walks through a pkg-map that is known to be JSON.
type mapReader struct {
	decoder *json.Decoder
	data    []byte
}

func (r *mapReader) line() int { return r.lineAt(r.decoder.InputOffset()) }

func (r *mapReader) lineAt(offset int64) int {
	return 1 + bytes.Count(r.data[:min(offset, int64(len(r.data)))], []byte("\n"))
}

func (r *mapReader) top() error {
	depths := map[string]int{"default": 1, "family": 2, "distro": 2, "release": 3}
	return r.object("the map", func(key string) error {
		depth, known := depths[key]
		if !known {
			return fmt.Errorf("%q is not known; the parts are default, family, distro and release", key)
		}
		return r.names(key, depth)
	})
}

// names reads objects within objects, and at the last level names of packages.
func (r *mapReader) names(what string, depth int) error {
	return r.object(what, func(key string) error {
		if depth > 1 {
			return r.names(what+" "+key, depth-1)
		}
		switch value, err := r.decoder.Token(); value.(type) {
		case string, nil:
			return err
		}
		return fmt.Errorf("%s: %q is not given the name of a package", what, key)
	})
}

// object reads one object, of which each reads the value of a key.
func (r *mapReader) object(what string, each func(key string) error) error {
	start, err := r.decoder.Token()
	if err != nil {
		return err
	}
	if start != json.Delim('{') {
		return fmt.Errorf("%s is not an object", what)
	}
	for r.decoder.More() {
		key, err := r.decoder.Token()
		if err != nil {
			return err
		}
		if err := each(key.(string)); err != nil {
			return err
		}
	}
	_, err = r.decoder.Token() // the brace that ends it
	return err
}
