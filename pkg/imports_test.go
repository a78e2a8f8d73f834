// Package pkg_test holds the rules that no compiler checks: which package may
// import which.
package pkg_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dibber-project/dibber"

// edges lists, for every package, what it may import of this module. A name
// that ends in "/" allows everything below it.
var edges = map[string][]string{
	"pkg/artifact":          {},
	"pkg/binfmt":            {},
	"pkg/bootloader":        {"pkg/layout", "pkg/sparse", "pkg/tree"},
	"pkg/build":             {"pkg/artifact", "pkg/binfmt", "pkg/container", "pkg/element", "pkg/environ", "pkg/format", "pkg/hook", "pkg/hook/lib", "pkg/hook/shim", "pkg/layout", "pkg/oci", "pkg/output", "pkg/tree", "pkg/tree/tarfile"},
	"pkg/convert":           {"pkg/bootloader", "pkg/format", "pkg/fstab", "pkg/layout", "pkg/oci", "pkg/output", "pkg/sparse", "pkg/tree", "pkg/tree/"},
	"pkg/container":         {"pkg/engine"},
	"pkg/definition":        {"pkg/yaml11"},
	"pkg/disk":              {"pkg/layout", "pkg/sparse"},
	"pkg/doctor":            {"pkg/binfmt", "pkg/vm"},
	"pkg/element":           {},
	"pkg/elementtest":       {"pkg/element"},
	"pkg/engine":            {},
	"pkg/environ":           {"pkg/element", "pkg/layout"},
	"pkg/format":            {"pkg/format/", "pkg/sparse"},
	"pkg/format/":           {"pkg/format/", "pkg/sparse", "pkg/xz"},
	"pkg/format/formattest": {"pkg/sparse", "pkg/sparse/"},
	"pkg/fstab":             {},
	"pkg/fsys":              {"pkg/fsys/", "pkg/layout", "pkg/sparse", "pkg/tree"},
	"pkg/fsys/":             {"pkg/fsys/", "pkg/sparse", "pkg/tree", "pkg/tree/", "pkg/xz"},
	"pkg/hook":              {"pkg/element", "pkg/environ"},
	"pkg/hook/lib":          {},
	"pkg/hook/shim":         {},
	"pkg/inspect":           {"pkg/format", "pkg/fstab", "pkg/fsys/", "pkg/layout", "pkg/lvm", "pkg/partition", "pkg/partition/", "pkg/sparse", "pkg/tree", "pkg/tree/"},
	"pkg/judge":             {"pkg/sparse"},
	"pkg/judge/guest":       {"pkg/judge", "pkg/tree"},
	"pkg/layout":            {"pkg/element", "pkg/sparse", "pkg/yaml11"},
	"pkg/lint":              {"pkg/element", "pkg/layout", "pkg/pkginstall", "pkg/svcmap", "pkg/yaml11"},
	"pkg/lvm":               {"pkg/layout", "pkg/sparse"},
	"pkg/oci":               {"pkg/tree", "pkg/tree/"},
	"pkg/pypi":              {"pkg/pypi/"},
	"pkg/pypi/":             {"pkg/pypi/"},
	"pkg/output":            {"pkg/artifact", "pkg/bootloader", "pkg/disk", "pkg/format", "pkg/format/compress", "pkg/fsys", "pkg/fsys/", "pkg/layout", "pkg/lvm", "pkg/oci", "pkg/partition/", "pkg/sparse", "pkg/tree", "pkg/tree/tarfile"},
	"pkg/partition":         {"pkg/partition/", "pkg/sparse"},
	"pkg/partition/":        {"pkg/layout", "pkg/sparse"},
	"pkg/pkginstall":        {"pkg/element", "pkg/yaml11"},
	"pkg/sparse":            {},
	"pkg/sparse/":           {"pkg/sparse"},
	"pkg/svcmap":            {"pkg/element", "pkg/yaml11"},
	"pkg/tree":              {},
	"pkg/tree/":             {"pkg/tree", "pkg/tree/"},
	"pkg/verify":            {"pkg/inspect", "pkg/sparse", "pkg/tree"},
	"pkg/vm":                {},
	"pkg/xz":                {},
	"pkg/yaml11":            {},
	"elements":              {},
	"cmd/dibber":            {"pkg/", "elements"},
}

// testOnly lists the packages that none but tests, and each other, may import.
var testOnly = []string{"pkg/format/formattest", "pkg/fsys/fsystest", "pkg/judge", "pkg/judge/guest", "pkg/sparse/sparsetest", "pkg/tree/treetest"}

// confined lists foreign modules and the only packages that may import them.
// Whatever is not listed here and is not of the standard library is refused.
var confined = map[string][]string{
	"go.podman.io/":                           {"pkg/container"},
	"github.com/opencontainers/":              {"pkg/container", "pkg/oci"},
	"github.com/google/go-containerregistry/": {"pkg/oci"},
	"github.com/BurntSushi/toml":              {"pkg/oci", "pkg/pypi"},
	"github.com/sirupsen/logrus":              {"pkg/container"},
	"github.com/klauspost/compress/":          {"pkg/format/", "pkg/fsys/", "pkg/oci", "pkg/tree/"},
	"github.com/ulikunitz/xz":                 {"pkg/format/", "pkg/fsys/"},
	"github.com/spf13/":                       {"cmd/dibber"},
	"golang.org/x/net/":                       {"pkg/pypi/index"},
	"golang.org/x/term":                       {"cmd/dibber"},
	"golang.org/x/sys/":                       {"cmd/dibber", "pkg/"},
	"go.yaml.in/yaml/v3":                      {"pkg/yaml11"},
	"mvdan.cc/sh/v3/":                         {"pkg/lint"},
}

func TestImportsKeepToTheRules(t *testing.T) {
	for dir, file := range sources(t) {
		for _, f := range file {
			imports, err := importsOf(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range imports {
				if why := refused(dir, p); why != "" {
					t.Errorf("%s imports %s: %s", f, p, why)
				}
			}
		}
	}
}

func TestTheRulesRefuseAPlantedImport(t *testing.T) {
	cases := []struct{ dir, source string }{
		{"pkg/sparse", `import _ "` + module + `/pkg/tree"`},
		{"pkg/disk", `import _ "github.com/google/go-containerregistry/pkg/v1"`},
		{"pkg/element", `import _ "go.podman.io/buildah"`},
		{"pkg/layout", `import _ "example.org/unheard-of"`},
		{"pkg/unlisted", `import _ "` + module + `/pkg/tree"`},
		{"cmd/dibber", `import _ "` + module + `/pkg/judge"`},
		{"pkg/tree/layer", `import _ "` + module + `/pkg/tree/treetest"`},
	}
	for _, c := range cases {
		imports, err := importsOf("planted.go", []byte("package p\n"+c.source))
		if err != nil {
			t.Fatal(err)
		}
		if refused(c.dir, imports[0]) == "" {
			t.Errorf("%s with %s was let through", c.dir, c.source)
		}
	}
}

// sources gives the non-test Go files of each package, by folder.
func sources(t *testing.T) map[string][]string {
	found := map[string][]string{}
	for _, top := range []string{"../pkg", "../cmd", "../elements"} {
		err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return err
			}
			dir := path.Dir(strings.TrimPrefix(filepath.ToSlash(p), "../"))
			found[dir] = append(found[dir], p)
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return found
}

func importsOf(name string, source any) ([]string, error) {
	if b, ok := source.([]byte); ok && b == nil {
		source = nil
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// refused tells why the package in dir may not import p, or "".
func refused(dir, p string) string {
	if p == "C" || !strings.Contains(strings.SplitN(p, "/", 2)[0], ".") {
		return "" // the standard library
	}
	if own, ok := strings.CutPrefix(p, module+"/"); ok {
		allowed, listed := lookup(edges, dir)
		if !listed {
			return fmt.Sprintf("%s has no line in the table of edges", dir)
		}
		if slices.Contains(testOnly, own) && !slices.Contains(testOnly, dir) {
			return "it is for tests alone"
		}
		if !covered(allowed, own) {
			return fmt.Sprintf("%s may import only %v", dir, allowed)
		}
		return ""
	}
	for prefix, allowed := range confined {
		if strings.HasPrefix(p+"/", prefix) || p == prefix {
			if covered(allowed, dir) {
				return ""
			}
			return fmt.Sprintf("only %v may", allowed)
		}
	}
	return "not in the table of foreign modules"
}

// lookup finds dir's own line, else the line of the folder above it.
func lookup(table map[string][]string, dir string) ([]string, bool) {
	if v, ok := table[dir]; ok {
		return v, true
	}
	v, ok := table[path.Dir(dir)+"/"]
	return v, ok
}

func covered(allowed []string, p string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == p || strings.HasSuffix(a, "/") && strings.HasPrefix(p, a)
	})
}
