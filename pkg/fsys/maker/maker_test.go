package maker_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestMissingProgramIsNamedWithItsPackage(t *testing.T) {
	c := maker.Command{Program: "mkfs.nothing", Package: "nothing-progs"}
	_, err := c.Run(context.Background())
	var missing *maker.Missing
	if !errors.As(err, &missing) || err.Error() != "mkfs.nothing is not installed (apt install nothing-progs)" {
		t.Error(err)
	}
}

func TestProgramWritesIntoTheNamelessFile(t *testing.T) {
	dir := t.TempDir()
	f, err := maker.Temp(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it has a name: %v", left)
	}
	c := maker.Command{Program: "sh", Args: []string{"-c", "cat >" + maker.Path}, Stdin: strings.NewReader("words"), File: f}
	if _, err := c.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "words" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestFailureTellsWhatTheProgramSaid(t *testing.T) {
	c := maker.Command{Program: "sh", Args: []string{"-c", "echo no such thing >&2; exit 3"}}
	if _, err := c.Run(context.Background()); err == nil || err.Error() != "sh: exit status 3: no such thing" {
		t.Error(err)
	}
}

func TestEveryDifferenceIsFound(t *testing.T) {
	want := map[string]string{"/a": "file 0644 0:0 @1 +user.a=b x", "/b": "link /a", "/c": "symlink 0777 0:0 a", "/d": "char 0600 0:0 1,2"}
	for path, other := range map[string]string{
		"/a": "file 0645 0:0 @1 +user.a=b x", "/b": "file 0644 0:0 @1 +user.a=b x", "/c": "symlink 0777 0:0 b", "/d": "char 0600 0:0 1,3", "/e": "dir 0755 0:0",
	} {
		got := map[string]string{}
		for p, line := range want {
			got[p] = line
		}
		got[path] = other
		tr := treetest.New(t, want)
		if err := maker.Compare(context.Background(), "mkfs", treetest.New(t, want).Source(), tr); err != nil {
			t.Fatal(err)
		}
		if err := maker.Compare(context.Background(), "mkfs", treetest.New(t, got).Source(), tr); err == nil {
			t.Errorf("%s: %s is taken for %s", path, other, want[path])
		}
	}
}
