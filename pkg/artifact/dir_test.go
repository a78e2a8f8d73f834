package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const marker = "oci-layout"

func fillDir(t *testing.T, dir, text string) {
	t.Helper()
	put(t, filepath.Join(dir, marker), text)
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o777); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "blobs", "sha256", "0"), text)
}

func beginDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := CreateDir(path, marker)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADirectoryAppearsAtCommitAndNotBefore(t *testing.T) {
	for name, publish := range map[string]func(*Dir) error{
		"at once": (*Dir).Commit,
		"in steps": func(d *Dir) error {
			defer d.Discard()
			return d.publishInSteps()
		},
	} {
		for _, before := range []string{"nothing", "an empty directory", "an old one"} {
			path := filepath.Join(t.TempDir(), "image")
			switch before {
			case "an empty directory":
				if err := os.Mkdir(path, 0o777); err != nil {
					t.Fatal(err)
				}
			case "an old one":
				if err := os.Mkdir(path, 0o777); err != nil {
					t.Fatal(err)
				}
				fillDir(t, path, "old")
			}
			d := beginDir(t, path+"/")
			fillDir(t, d.Temp(), "new")
			if b, _ := os.ReadFile(filepath.Join(path, marker)); string(b) == "new" {
				t.Errorf("%s, %s: the new one is there before Commit", name, before)
			}
			if err := publish(d); err != nil {
				t.Fatal(err)
			}
			d.Discard() // does nothing any more
			if got := read(t, filepath.Join(path, "blobs", "sha256", "0")); got != "new" {
				t.Errorf("%s, %s: there is %q", name, before, got)
			}
			if got := names(t, filepath.Dir(path)); got != "image" {
				t.Errorf("%s, %s: beside it there is %s", name, before, got)
			}
			if err := d.Commit(); err == nil {
				t.Errorf("%s, %s: committed twice", name, before)
			}
		}
	}
}

func TestADiscardedDirectoryLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	fillDir(t, path, "old")
	d := beginDir(t, path)
	fillDir(t, d.Temp(), "new")
	d.Discard()
	if got := names(t, filepath.Dir(path)) + " " + read(t, filepath.Join(path, marker)); got != "image old" {
		t.Errorf("there is %s", got)
	}
}

func TestADirectoryOfAnotherKindIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	home, file := filepath.Join(dir, "home"), filepath.Join(dir, "file")
	if err := os.Mkdir(home, 0o777); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(home, "precious"), "")
	put(t, file, "")
	for path, want := range map[string]string{home: "without oci-layout", file: "no directory", dir + "/none/image": "no such file"} {
		if _, err := CreateDir(path, marker); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error is %v, want one with %q", path, err, want)
		}
	}
	if _, err := CreateDir(home, ""); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("the error is %v", err)
	}
	// What appears while the directory is filled is looked at too.
	path := filepath.Join(dir, "image")
	d := beginDir(t, path)
	if err := os.Rename(home, path); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err == nil {
		t.Error("a directory that appeared meanwhile was replaced")
	}
	if got := names(t, path) + " " + names(t, dir); got != "precious file image" {
		t.Errorf("there is %s", got)
	}
}

func TestALinkToADirectoryStaysALink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "image"), filepath.Join(dir, "latest")
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("image", link); err != nil {
		t.Fatal(err)
	}
	d := beginDir(t, link)
	fillDir(t, d.Temp(), "new")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(link); err != nil || got != "image" || read(t, filepath.Join(path, marker)) != "new" {
		t.Errorf("the link is %q, %v", got, err)
	}
}
