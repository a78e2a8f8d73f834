package output

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// writerIn writes outputs named image into dir.
func writerIn(dir string) *Writer {
	return &Writer{Dir: dir, Name: "image", Now: time.Now, Time: time.Date(2026, 11, 22, 12, 5, 9, 0, time.UTC)}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// expect fails the test when dir holds anything but these files.
func expect(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(text)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

func says(text string) func(*artifact.File) error {
	return func(f *artifact.File) error {
		_, err := io.WriteString(f, text)
		return err
	}
}

func TestAnOutputThatFailsLeavesTheOldOneWhereItIs(t *testing.T) {
	for _, keepOld := range []bool{false, true} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"image.tar": "old", "image.tar.md5": "sum"})
		o := writerIn(dir)
		o.KeepOld = keepOld
		reason := errors.New("reason")
		err := o.writeFile(context.Background(), "tar", "", func(f *artifact.File) error {
			return errors.Join(says("half")(f), reason)
		})
		if !errors.Is(err, reason) || len(o.made) > 0 {
			t.Errorf("got %v, %v", err, o.made)
		}
		expect(t, dir, map[string]string{"image.tar": "old", "image.tar.md5": "sum"})
	}
}

func TestAnOlderOutputIsKeptOrReplacedWithItsChecksums(t *testing.T) {
	dir := t.TempDir()
	o := writerIn(dir)
	begin := func(text string) {
		t.Helper()
		if err := o.writeFile(context.Background(), "tar", "", says(text)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, map[string]string{"image.tar": "first", "image.tar.md5": "stale", "image.tar.asc": "mine"})
	begin("second")
	expect(t, dir, map[string]string{"image.tar": "second", "image.tar.asc": "mine"})

	write(t, dir, map[string]string{"image.tar.sha256": "of the second"})
	o.KeepOld = true
	begin("third")
	expect(t, dir, map[string]string{
		"image.tar": "third", "image.tar.asc": "mine",
		"image-2026.11.22-12.05.09.tar": "second", "image-2026.11.22-12.05.09.tar.sha256": "of the second",
	})
}

func TestChecksumsNameTheOutputAsTheUserDid(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"image", "sub/image", filepath.Join(dir, "absolute")} {
		o := writerIn(dir)
		o.Name, o.Checksums = name, artifact.Kinds()
		if err := o.writeFile(context.Background(), "tar", "", says("text")); err != nil {
			t.Fatal(err)
		}
		for _, tool := range []string{"md5sum", "sha256sum"} {
			sum, err := os.ReadFile(name + ".tar." + strings.TrimSuffix(tool, "sum"))
			if err != nil || !strings.HasSuffix(string(sum), "  "+name+".tar\n") {
				t.Errorf("%s: %q, %v", tool, sum, err)
			}
			if out, err := judge.Run(t, tool, "-c", name+".tar."+strings.TrimSuffix(tool, "sum")); err != nil {
				t.Errorf("%s -c: %v\n%s", tool, err, out)
			}
		}
		if got := o.made[0]; !filepath.IsAbs(got.Path) || got.Size != 4 || got.Type != "tar" {
			t.Errorf("made %+v", got)
		}
	}
}

// ending is content that ends a context when it is read.
type ending struct{ end func() }

func (e ending) ReadAt(p []byte, _ int64) (int, error) {
	e.end()
	return len(p), nil
}

func TestACancelledOutputIsNotThere(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	tr := tree.Empty()
	tr.Root.Children = []*tree.Node{{Name: "large", Inode: &tree.Inode{Mode: tree.TypeRegular, Size: 1 << 40, Content: ending{cancel}}}}
	if _, err := writerIn(dir).Write(ctx, []string{"tar"}, Content{Tree: tr}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	expect(t, dir, nil)
}

func TestACancelledImageLeavesNoHiddenDirectory(t *testing.T) {
	var layer bytes.Buffer
	if err := tarfile.Write(context.Background(), &layer, treetest.New(t, map[string]string{"/x": "file 0644 0:0 x"}), tarfile.Options{}); err != nil {
		t.Fatal(err)
	}
	parts := t.TempDir()
	write(t, parts, map[string]string{"layer.tar": layer.String()})
	image, err := oci.Assemble(context.Background(), nil, []oci.Layer{{Tar: filepath.Join(parts, "layer.tar")}}, oci.Config{TempDir: parts})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"oci", "oci-archive", "docker-archive"} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		w := writerIn(dir)
		w.Observe = func(e Event) { cancel() } // once it has begun
		_, err := w.Write(ctx, []string{kind}, Content{Image: func(context.Context) (*oci.Image, error) { return image, nil }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", kind, err)
		}
		expect(t, dir, nil)
	}
}

func TestImageNamesAreThoseThatDockerTakes(t *testing.T) {
	grammar := regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$`)
	for name, want := range map[string]string{
		"debian": "debian", "Debian-12.1_x": "debian-12.1_x", "my image": "my-image", "My Image_": "my-image", "a..b": "a-b", "a._b": "a-b", "a--b": "a-b",
		"_": "image", "": "image", "äöü": "image", "x:y@z": "x-y-z",
	} {
		if got := imageName(name); got != want || !grammar.MatchString(got) {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestNoOutputTypeOrAnUnknownOneIsRefused(t *testing.T) {
	if err := CheckTypes(nil); err == nil {
		t.Error("nothing to make was accepted")
	}
	var unknown *TypeError
	if err := CheckTypes([]string{"raw", "qcow3"}); !errors.As(err, &unknown) || unknown.Type != "qcow3" || !slices.Contains(unknown.Known, "qcow2") {
		t.Errorf("got %v", err)
	}
	if err := CheckTypes(Types()); err != nil {
		t.Error(err)
	}
}
