//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
)

// outputsIn writes outputs named image into dir.
func outputsIn(dir string) *outputs {
	return &outputs{rootfs: &rootfs{job: &Job{Dir: dir, Name: "image", Now: time.Now, Time: time.Date(2026, 11, 22, 12, 5, 9, 0, time.UTC)}}}
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
		grow(t, dir, map[string]string{"image.tar": "file old", "image.tar.md5": "file sum"})
		before := grown(t, dir)
		o := outputsIn(dir)
		o.job.KeepOld = keepOld
		reason := errors.New("reason")
		err := o.writeFile(context.Background(), "tar", "", func(f *artifact.File) error {
			return errors.Join(says("half")(f), reason)
		})
		if !errors.Is(err, reason) || len(o.made) > 0 {
			t.Errorf("got %v, %v", err, o.made)
		}
		expect(t, dir, before)
	}
}

func TestAnOlderOutputIsKeptOrReplacedWithItsChecksums(t *testing.T) {
	dir := t.TempDir()
	o := outputsIn(dir)
	write := func(text string) {
		t.Helper()
		must(t, o.writeFile(context.Background(), "tar", "", says(text)))
	}
	grow(t, dir, map[string]string{"image.tar": "file first", "image.tar.md5": "file stale", "image.tar.asc": "file mine"})
	write("second")
	expect(t, dir, map[string]string{"image.tar": "file second", "image.tar.asc": "file mine"})

	grow(t, dir, map[string]string{"image.tar.sha256": "file of the second"})
	o.job.KeepOld = true
	write("third")
	expect(t, dir, map[string]string{
		"image.tar": "file third", "image.tar.asc": "file mine",
		"image-2026.11.22-12.05.09.tar": "file second", "image-2026.11.22-12.05.09.tar.sha256": "file of the second",
	})
}

func TestChecksumsNameTheOutputAsTheUserDid(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.Mkdir("sub", 0o755))
	for _, name := range []string{"image", "sub/image", filepath.Join(dir, "absolute")} {
		o := outputsIn(dir)
		o.job.Name, o.job.Checksums = name, artifact.Kinds()
		must(t, o.writeFile(context.Background(), "tar", "", says("text")))
		for _, tool := range []string{"md5sum", "sha256sum"} {
			sum, err := os.ReadFile(name + ".tar." + strings.TrimSuffix(tool, "sum"))
			if err != nil || !strings.HasSuffix(string(sum), "  "+name+".tar\n") {
				t.Errorf("%s: %q, %v", tool, sum, err)
			}
			if out, err := exec.Command(tool, "-c", name+".tar."+strings.TrimSuffix(tool, "sum")).CombinedOutput(); err != nil {
				t.Errorf("%s -c: %v\n%s", tool, err, out)
			}
		}
		if got := o.made[0]; !filepath.IsAbs(got.Path) || got.Size != 4 || got.Type != "tar" {
			t.Errorf("made %+v", got)
		}
	}
}

func TestACancelledOutputIsNotThere(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	err := outputsIn(dir).writeFile(ctx, "tar", "", func(f *artifact.File) error {
		w := until{ctx, f}
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		cancel()
		_, err := w.Write([]byte("half"))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	expect(t, dir, nil)
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

func TestNotesOfHooksAreReadWhateverTheyAre(t *testing.T) {
	w := &workspace{notes: t.TempDir()}
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("i386-pc"), 0o600))
	grow(t, w.notes, map[string]string{
		"plain": "file text", "link": "-> plain", "out": "-> " + secret, "dir": "dir", "dangling": "-> nowhere",
		"large": "file " + strings.Repeat("x", maxNotes+1), "most": "file " + strings.Repeat("x", maxNotes),
	})
	must(t, exec.Command("mkfifo", filepath.Join(w.notes, "fifo")).Run())
	for name, want := range map[string]int{"plain": 4, "link": 4, "most": maxNotes, "absent": 0, "dangling": 0} {
		if text, err := w.readNotes(name); err != nil || len(text) != want {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	for _, name := range []string{"out", "dir", "fifo", "large"} {
		if text, err := w.readNotes(name); err == nil || text != "" || !strings.Contains(err.Error(), "notes of hooks") {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}
