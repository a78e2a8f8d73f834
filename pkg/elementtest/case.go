package elementtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// Case is one test of one element.
type Case struct {
	Element string
	Name    string
	Dir     string   // the test's own element; its siblings are found beside it
	Ramdisk bool     // the build is to make a ramdisk, not an image of a disk
	Formats []string // what to build
	Fault   error    // what it says of itself cannot be read; it fails
}

// String names the case as on a command line: ELEMENT/NAME.
func (c Case) String() string { return c.Element + "/" + c.Name }

// maxFileBytes bounds element-type and test-output-formats.
const maxFileBytes = 4096

// Find gives every test of the elements along path, sorted by element and name.
func Find(path []string) ([]Case, error) {
	all, err := element.List(path)
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, e := range all {
		tests := filepath.Join(e.Dir, "test-elements")
		entries, err := os.ReadDir(tests)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the tests of element %s: %w", e.Name, err)
		}
		for _, entry := range entries {
			if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			c := Case{Element: e.Name, Name: entry.Name(), Dir: filepath.Join(tests, entry.Name())}
			c.Fault = c.load()
			cases = append(cases, c)
		}
	}
	return cases, nil
}

// load reads what a test says of itself.
func (c *Case) load() error {
	kind, err := c.word("element-type", "disk")
	if err != nil {
		return err
	}
	switch kind {
	case "disk":
	case "ramdisk":
		c.Ramdisk = true
	default:
		return fmt.Errorf("its element-type is %q, and disk and ramdisk are known", kind)
	}
	formats, err := c.word("test-output-formats", "tar")
	if err != nil {
		return err
	}
	for f := range strings.SplitSeq(formats, ",") {
		if f = strings.TrimSpace(f); f == "" || strings.ContainsAny(f, " \t\n/") || f[0] == '-' {
			return fmt.Errorf("its test-output-formats are %q; name formats with commas between", formats)
		}
		c.Formats = append(c.Formats, f)
	}
	return nil
}

// word reads a file of one word.
func (c *Case) word(file, otherwise string) (string, error) {
	data, err := element.ReadFile(filepath.Join(c.Dir, file), maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return otherwise, nil
	}
	return strings.TrimSpace(string(data)), err
}

// UnknownError says that no test is called so.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return fmt.Sprintf("no test is called %s", e.Name) }

// Choose gives the cases to run, and those to skip. wanted names tests as
// ELEMENT/NAME, or ELEMENT for all of an element, or all; none are all but the
// usual ones to skip. A test that skip names is skipped in any case; of the
// usual ones only a test that nobody named.
func Choose(cases []Case, wanted, skip []string) (run, skipped []Case, err error) {
	known := func(name string) bool {
		return slices.ContainsFunc(cases, func(c Case) bool { return c.String() == name || c.Element == name })
	}
	for _, name := range wanted {
		if name != "all" && !known(name) {
			return nil, nil, &UnknownError{Name: name}
		}
	}
	for _, c := range cases {
		names := []string{c.String(), c.Element}
		isIn := func(list []string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(list, n) })
		}
		switch {
		case len(wanted) > 0 && !isIn(wanted) && !slices.Contains(wanted, "all"):
		case isIn(skip), len(wanted) == 0 && isIn(Unusual()):
			skipped = append(skipped, c)
		default:
			run = append(run, c)
		}
	}
	return run, skipped, nil
}

// Unusual names the tests of diskimage-builder that its own driver runs only
// when they are named: their systems have no reliable mirror, or want tools that
// few machines have.
func Unusual() []string {
	return []string{
		"centos/10-stream-build-succeeds", "centos/build-succeeds",
		"debian/build-succeeds",
		"debian-minimal/stable-build-succeeds", "debian-minimal/stable-vm", "debian-minimal/testing-build-succeeds",
		"fedora/build-succeeds",
		"gentoo/build-succeeds",
		"opensuse/build-succeeds", "opensuse/opensuse15-build-succeeds",
		"opensuse-minimal/build-succeeds", "opensuse-minimal/opensuse15-build-succeeds",
		"ubuntu/trusty-build-succeeds", "ubuntu/xenial-build-succeeds", "ubuntu/bionic-build-succeeds",
		"ubuntu-minimal/trusty-build-succeeds", "ubuntu-minimal/xenial-build-succeeds", "ubuntu-minimal/bionic-build-succeeds",
	}
}
