package element_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/element"
)

// merge merges elements of dir, named in order, into a new directory.
func merge(t *testing.T, dir string, names ...string) (string, error) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "hooks")
	t.Cleanup(func() { // directories that forbid writing could not be removed
		for _, top := range []string{dir, target} {
			filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					os.Chmod(p, 0o755)
				}
				return nil
			})
		}
	})
	set, err := element.Resolve([]string{dir}, names)
	must(t, err)
	return target, set.Merge(target)
}

// listing gives a line "path mode content" for everything below dir.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			lines = append(lines, fmt.Sprintf("%s/ %o", name, info.Mode().Perm()))
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(p)
			lines = append(lines, fmt.Sprintf("%s -> %s", name, link))
			return err
		default:
			data, err := os.ReadFile(p)
			lines = append(lines, fmt.Sprintf("%s %o %s", name, info.Mode().Perm(), data))
			return err
		}
		return nil
	}))
	return lines
}

func TestMergeLaysDirectoriesSideBySide(t *testing.T) {
	dir := files(t,
		"a/element-provides: operating-system",
		"a/install.d/10-a: #!a",
		"a/install.d/.hidden: x",
		"a/install.d/rel: -> ../../b/install.d/20-b",
		"a/install.d/lost: -> nowhere",
		"a/static/etc/shared: from a",
		"a/static/etc/only-a: a",
		"a/static/etc/.profile: dots below stay",
		"a/tests/test_x.py: x",
		"a/__pycache__/x.pyc: x",
		"a/.git/config: x",
		"a/old.pyc: x",
		"a/a_test.go: x",
		"a/bin/tool_test.go: x",
		"a/bin/tool: #!tool",
		"a/static/src/main.go: package main",
		"a/README.rst: a",
		"a/link: -> README.rst",
		"a/lost: -> nowhere",
		"b/install.d/20-b: #!b",
		"b/install.d/with space: b",
		"b/static/etc/shared: from b",
		"b/README.rst: b",
		"b/data: -> ../c/files",
		"c/files/x: c",
		"c/empty/",
	)
	must(t, os.Chmod(filepath.Join(dir, "a/static/etc"), 0o750))
	must(t, os.Chmod(filepath.Join(dir, "b/static/etc"), 0o555))
	when := time.Unix(1000, 0)
	must(t, os.Chtimes(filepath.Join(dir, "a/bin/tool"), when, when))
	target, err := merge(t, dir, "a", "b", "c")
	must(t, err)
	want := []string{
		"README.rst 644 b",
		"bin/ 755", "bin/tool 755 #!tool", "bin/tool_test.go 644 x",
		"data/ 755", "data/x 644 c",
		"element-provides 644 operating-system",
		"empty/ 755",
		"files/ 755", "files/x 644 c",
		"install.d/ 755", "install.d/10-a 755 #!a", "install.d/20-b 755 #!b",
		"install.d/lost -> nowhere", "install.d/rel -> ../../b/install.d/20-b", "install.d/with space 644 b",
		"link -> README.rst",
		"static/ 755", "static/etc/ 555", "static/etc/.profile 644 dots below stay",
		"static/etc/only-a 644 a", "static/etc/shared 644 from b",
		"static/src/ 755", "static/src/main.go 644 package main",
	}
	if got := listing(t, target); !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	info, err := os.Stat(filepath.Join(target, "bin/tool"))
	must(t, err)
	if !info.ModTime().Equal(when) {
		t.Errorf("bin/tool is of %v", info.ModTime())
	}
}

func TestMergeNamesBothElementsOfADuplicatedHook(t *testing.T) {
	dir := files(t,
		"a/element-provides: operating-system\n",
		"a/install.d/10-x: #!a", "b/install.d/10-x: #!b",
		"a/bin/y: #!a", "b/bin/y: -> z",
		"a/data/z: -> nowhere", "b/data/z/",
	)
	target, err := merge(t, dir, "a", "b")
	for _, hook := range []string{"install.d/10-x", "bin/y", "data/z"} {
		want := "There is a duplicated hook in your elements: " + hook + " is in both 'a' and 'b'"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	var duplicate *element.DuplicateHookError
	if !errors.As(err, &duplicate) {
		t.Errorf("got %T", err)
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was written")
	}
}

func TestMergeRefuses(t *testing.T) {
	cases := []struct {
		lines []string
		want  string
	}{
		{[]string{"a/static/etc: file", "b/static/etc/x: y"}, "duplicated hook"},
		{[]string{"a/static/etc/x: file", "b/static/etc: file"}, "static/etc is a directory in only one of 'a' and 'b'"},
		{[]string{"a/static/etc/x: file", "b/static/etc/x/y: file"}, "static/etc/x is a directory in only one of 'a' and 'b'"},
		{[]string{"a/bin/x: file", "b/bin: file"}, "bin is a directory in only one of 'a' and 'b'"},
		{[]string{"a/bin: file", "b/bin/x: file"}, "duplicated hook"},
	}
	for _, c := range cases {
		dir := files(t, append(c.lines, "a/element-provides: operating-system", "b/README: x")...)
		_, err := merge(t, dir, "a", "b")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v", c.lines, err)
		}
	}
}

func TestADirectoryOfAnElementMayLieElsewhere(t *testing.T) {
	outside := files(t, "etc/motd: hello", "etc/link: -> motd")
	dir := files(t,
		"a/element-provides: operating-system",
		"a/static: -> "+outside,
		"a/install.d: -> ../shared/hooks",
		"a/loop: -> loop",
		"shared/hooks/10-x: #!x",
		"b/static/etc/issue: b",
	)
	target, err := merge(t, dir, "a", "b")
	must(t, err)
	want := []string{"element-provides 644 operating-system", "install.d/ 755", "install.d/10-x 755 #!x",
		"static/ 755", "static/etc/ 755", "static/etc/issue 644 b", "static/etc/link -> motd", "static/etc/motd 644 hello"}
	if got := listing(t, target); !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	if got := listing(t, outside); len(got) != 3 {
		t.Errorf("outside: %q", got)
	}
}

func TestMergeRefusesAPipe(t *testing.T) {
	dir := files(t, "a/element-provides: operating-system", "a/static/x: y")
	must(t, syscall.Mkfifo(filepath.Join(dir, "a/static/pipe"), 0o644))
	_, err := merge(t, dir, "a")
	if err == nil || !strings.Contains(err.Error(), "static/pipe is neither") {
		t.Errorf("got %v", err)
	}
}

func TestMergeNeverWritesThroughALink(t *testing.T) {
	outside := files(t, "victim: untouched")
	dir := files(t,
		"a/element-provides: operating-system",
		"a/static/etc/x: -> "+filepath.Join(outside, "victim"),
		"b/static/etc/x: overwritten",
		"b/install.d/10-x: #!b",
	)
	target := filepath.Join(t.TempDir(), "hooks")
	must(t, os.Mkdir(target, 0o755))
	must(t, os.Symlink(outside, filepath.Join(target, "install.d")))
	set, err := element.Resolve([]string{dir}, []string{"a", "b"})
	must(t, err)
	must(t, set.Merge(target))
	if got := listing(t, outside); !slices.Equal(got, []string{"victim 644 untouched"}) {
		t.Errorf("outside: %q", got)
	}
	data, err := os.ReadFile(filepath.Join(target, "static/etc/x"))
	if string(data) != "overwritten" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestMergeTwiceGivesTheSame(t *testing.T) {
	dir := files(t, "a/element-provides: operating-system", "a/install.d/10-x: #!a", "a/static/d/e/f: x")
	must(t, os.Chmod(filepath.Join(dir, "a/static/d/e"), 0o555))
	target, err := merge(t, dir, "a")
	must(t, err)
	first := listing(t, target)
	set, err := element.Resolve([]string{dir}, []string{"a"})
	must(t, err)
	must(t, set.Merge(target))
	if got := listing(t, target); !slices.Equal(got, first) {
		t.Errorf("\n got %q\nwant %q", got, first)
	}
}
