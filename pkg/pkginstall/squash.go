package pkginstall

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/yaml11"
)

// Source is one element of the build.
type Source struct{ Name, Dir string }

// Squash reads package-installs.json and then package-installs.yaml of each
// element, in the order given, and makes one list of what holds for this
// build. env looks up a variable as hooks see it. Errors name the file, the
// line and the package.
//
// Only the directory of the element is read: of an element that overrides
// another of the same name, the other's files do not count.
func Squash(elements []Source, env func(string) (string, bool)) (*List, error) {
	s := &squasher{env: env, phases: map[string]*Phase{}}
	for _, e := range elements {
		for _, name := range []string{"package-installs.json", "package-installs.yaml"} {
			file := filepath.Join(e.Dir, name)
			data, err := element.ReadFile(file, maxFileBytes)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read package-installs of element '%s': %w", e.Name, err)
			}
			if err := s.file(e.Name, file, data); err != nil {
				return nil, err
			}
		}
	}
	return s.list(), nil
}

// squasher is the state of one Squash.
type squasher struct {
	env      func(string) (string, bool)
	phases   map[string]*Phase
	warnings []string
}

func (s *squasher) list() *List {
	l := &List{Warnings: s.warnings}
	for _, name := range slices.Sorted(maps.Keys(s.phases)) {
		if p := s.phases[name]; len(p.Install)+len(p.Uninstall) > 0 {
			l.Phases = append(l.Phases, *p)
		}
	}
	return l
}

func (s *squasher) file(element, file string, data []byte) error {
	document, err := parse(file, data)
	if err != nil {
		return fmt.Errorf("cannot read package-installs of element '%s': %w", element, err)
	}
	if document.Kind == yaml11.Null {
		return nil
	}
	packages, err := document.Entries()
	if err != nil {
		return fmt.Errorf("cannot read package-installs of element '%s': %w", element, err)
	}
	for _, old := range document.Overridden {
		s.warnings = append(s.warnings, old.Key.Errorf("package '%s' is given again further down, and that one counts", old.Key.Raw).Error())
	}
	for _, p := range packages {
		if err := s.pkg(Package{Name: p.Key.Raw, Element: element}, p.Key, p.Value); err != nil {
			return fmt.Errorf("cannot read package-installs of element '%s': %w", element, err)
		}
	}
	return nil
}

// pkg takes in one package, whose value is nothing, a map or a list of maps.
func (s *squasher) pkg(p Package, key, value *yaml11.Node) error {
	if err := clean(key, "package", p.Name); err != nil {
		return err
	}
	params := []*yaml11.Node{value}
	switch {
	case isFalse(value):
		params = []*yaml11.Node{{Kind: yaml11.Map, File: key.File, Line: key.Line, Column: key.Column}}
	case value.Kind == yaml11.List:
		params = value.Items
	}
	for _, node := range params {
		if node.Kind != yaml11.Map {
			return node.Errorf("package '%s': expected a map, found %s", p.Name, node.Kind)
		}
		if err := s.param(p, node); err != nil {
			return err
		}
	}
	return nil
}

// param takes in one map of parameters. What it does to lists comes before it
// is known whether the package is wanted at all, as it always did.
func (s *squasher) param(p Package, node *yaml11.Node) error {
	name, err := text(p, node, "phase", "install.d")
	if err != nil {
		return err
	}
	if err := clean(node, "phase", name); err != nil {
		return err
	}
	s.warn(p, node, name)
	if s.phases[name] == nil {
		s.phases[name] = &Phase{Name: name}
	}
	phase := s.phases[name]
	install, uninstall, ok := phase.conflict(p, node.Get("uninstall") != nil, node.Get("build-only") != nil)
	if !ok {
		return nil
	}
	if wanted, err := s.wanted(p, node); err != nil || !wanted {
		return err
	}
	if install {
		phase.Install = append(phase.Install, p)
	}
	if uninstall {
		phase.Uninstall = append(phase.Uninstall, p)
	}
	return nil
}

// conflict settles what a package is put on when another element may have
// asked for it too: one that stays installed anywhere is never uninstalled.
// ok is false when there is nothing to do.
func (phase *Phase) conflict(p Package, uninstallOnly, buildOnly bool) (install, uninstall, ok bool) {
	same := func(other Package) bool { return other.Name == p.Name }
	stays := slices.ContainsFunc(phase.Install, same) && !slices.ContainsFunc(phase.Uninstall, same)
	switch {
	case !uninstallOnly && !buildOnly:
		phase.Uninstall = slices.DeleteFunc(phase.Uninstall, same)
		return true, false, true
	case stays:
		return buildOnly, false, buildOnly
	case buildOnly:
		return true, true, true
	default:
		return false, true, true
	}
}

// wanted tells whether a map of parameters holds for this build. The checks
// come in an order that counts: "when" with a variable that is not set is an
// error only for a package that passed all others.
func (s *squasher) wanted(p Package, node *yaml11.Node) (bool, error) {
	for _, check := range []func(Package, *yaml11.Node) (bool, error){s.installType, s.arch, s.pythonVersion, s.when} {
		if ok, err := check(p, node); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (s *squasher) installType(p Package, node *yaml11.Node) (bool, error) {
	wanted, err := text(p, node, "installtype", "")
	if err != nil || node.Get("installtype") == nil || node.Get("installtype").Kind == yaml11.Null {
		return true, err
	}
	for _, name := range []string{"DIB_INSTALLTYPE_" + strings.ReplaceAll(p.Element, "-", "_"), "DIB_DEFAULT_INSTALLTYPE"} {
		if actual, ok := s.env(name); ok {
			return wanted == actual, nil
		}
	}
	return wanted == "source", nil
}

func (s *squasher) arch(p Package, node *yaml11.Node) (bool, error) {
	only, err := text(p, node, "arch", "")
	if err != nil {
		return false, err
	}
	not, err := text(p, node, "not-arch", "")
	switch {
	case err != nil:
		return false, err
	case only != "" && not != "":
		return false, node.Errorf("package '%s': arch and not-arch must not both be given", p.Name)
	case only == "" && not == "":
		return true, nil
	}
	arch, ok := s.env("ARCH")
	if !ok {
		return false, node.Errorf("package '%s': the variable ARCH is not set", p.Name)
	}
	listed := slices.ContainsFunc(strings.Split(only+not, ","), func(a string) bool { return strings.TrimSpace(a) == arch })
	return listed == (only != ""), nil
}

func (s *squasher) pythonVersion(p Package, node *yaml11.Node) (bool, error) {
	value := node.Get("dib_python_version")
	switch {
	case value == nil || value.Kind == yaml11.String && value.Raw == "":
		return true, nil
	case value.Kind == yaml11.List || value.Kind == yaml11.Map:
		return false, value.Errorf("package '%s': dib_python_version: expected a number, found %s", p.Name, value.Kind)
	}
	actual, _ := s.env("DIB_PYTHON_VERSION")
	return value.Str() == actual, nil
}

// when holds each statement "VARIABLE = value" or "VARIABLE != value"; all
// must hold.
func (s *squasher) when(p Package, node *yaml11.Node) (bool, error) {
	value := node.Get("when")
	if value == nil || value.Kind == yaml11.Null {
		return true, nil
	}
	statements := []*yaml11.Node{value}
	if value.Kind == yaml11.List {
		statements = value.Items
	}
	all := true
	for _, node := range statements {
		statement, err := node.Text()
		if err != nil {
			return false, fmt.Errorf("package '%s': when: %w", p.Name, err)
		}
		m := regexp.MustCompile(`^([\pL\pN_]+)\s*(=|!=)\s*(.*)`).FindStringSubmatch(statement)
		if m == nil {
			return false, node.Errorf("package '%s': when: %q is neither VARIABLE = value nor VARIABLE != value", p.Name, statement)
		}
		actual, ok := s.env(m[1])
		if !ok {
			return false, node.Errorf("package '%s': when: the variable %s is not set", p.Name, m[1])
		}
		all = all && (m[3] == actual) == (m[2] == "=")
	}
	return all, nil
}

// warn notes what has no effect.
func (s *squasher) warn(p Package, node *yaml11.Node, phase string) {
	for _, old := range node.Overridden {
		s.warnings = append(s.warnings, old.Key.Errorf("package '%s': the key '%s' is given again further down, and that one counts", p.Name, old.Key.Raw).Error())
	}
	known := []string{"phase", "uninstall", "build-only", "installtype", "arch", "not-arch", "dib_python_version", "when"}
	for _, pair := range node.Pairs {
		if !slices.Contains(known, pair.Key.Raw) {
			s.warnings = append(s.warnings, pair.Key.Errorf("package '%s': the key '%s' is not known", p.Name, pair.Key.Raw).Error())
		}
	}
	if !slices.Contains([]string{"pre-install.d", "install.d", "post-install.d"}, phase) {
		s.warnings = append(s.warnings, node.Errorf("package '%s': no packages are installed in phase '%s'", p.Name, phase).Error())
	}
}

// text gives the text of a key, or other when it is absent or null.
func text(p Package, node *yaml11.Node, key, other string) (string, error) {
	value := node.Get(key)
	if value == nil || value.Kind == yaml11.Null {
		return other, nil
	}
	got, err := value.Text()
	if err != nil {
		return "", fmt.Errorf("package '%s': %s: %w", p.Name, key, err)
	}
	return got, nil
}

// clean refuses a name that would break a line of a table.
func clean(at *yaml11.Node, what, name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return at.Errorf("the name %q is no %s", name, what)
	}
	return nil
}

// isFalse tells what Python takes as false: nothing, no, 0, and what is empty.
func isFalse(n *yaml11.Node) bool {
	switch n.Kind {
	case yaml11.Null:
		return true
	case yaml11.Bool:
		return n.Str() == "False"
	case yaml11.Int, yaml11.Float:
		f, err := n.Float()
		return err == nil && f == 0
	case yaml11.List:
		return len(n.Items) == 0
	case yaml11.Map:
		return len(n.Pairs) == 0
	}
	return n.Raw == ""
}
