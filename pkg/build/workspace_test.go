//go:build containers_image_openpgp

package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/container"
)

// stored gives a job with a store of its own, in the namespaces of a build.
func stored(t *testing.T) *Job {
	t.Helper()
	if !namespaced {
		t.Skip("working containers do not run here")
	}
	t.Setenv("TMPDIR", os.TempDir()) // builds change it
	return &Job{ID: "abcd", Dir: t.TempDir(), StateDir: t.TempDir(), Environ: []string{"TMPDIR=" + t.TempDir()}}
}

func TestTheBuildDirectoriesAreWhereTheUserWantsThem(t *testing.T) {
	for name, c := range map[string]struct{ temp, want string }{
		"with the containers": {"", "builds/abcd"},
		"relative":            {"my tmp", "my tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			job := stored(t)
			grow(t, job.Dir, map[string]string{"my tmp": "dir", "my": "dir"})
			job.TempDir = c.temp
			top := job.StateDir
			if c.temp != "" {
				top = job.Dir
			}
			w, err := openWorkspace(job)
			must(t, err)
			for _, dir := range []string{"dib_build.abcd/hooks", "dib_build.abcd/mnt", "dib_image.abcd"} {
				if info, err := os.Stat(filepath.Join(top, c.want, dir)); err != nil || !info.IsDir() {
					t.Errorf("%s: %v", dir, err)
				}
			}
			w.sweep()
			must(t, w.awaitSweep())
			must(t, w.close())
			expect(t, job.Dir, map[string]string{"my tmp": "dir", "my": "dir"})
			expect(t, filepath.Join(job.StateDir, "builds"), nil)
		})
	}
}

func TestAWorkspaceThatCannotBeMadeLeavesNothing(t *testing.T) {
	job := stored(t)
	job.TempDir = "not there"
	if _, err := openWorkspace(job); err == nil {
		t.Error("a directory that is not there was made")
	}
	grow(t, job.Dir, map[string]string{"dib_image.abcd/in": "file x"})
	job.TempDir = job.Dir // where a name is taken
	if _, err := openWorkspace(job); err == nil {
		t.Error("a directory that somebody else made was taken over")
	}
	expect(t, job.Dir, map[string]string{"dib_image.abcd/in": "file x"})
	expect(t, filepath.Join(job.StateDir, "builds"), nil)
}

func TestADeadBuildsDirectoriesGoWithItsContainer(t *testing.T) {
	job := stored(t)
	job.TempDir, job.Environ = job.Dir, []string{"TMPDIR=" + job.Dir}
	w, err := openWorkspace(job)
	must(t, err)
	must(t, w.place.Keep()) // so that another may claim it
	store, err := container.OpenStore(job.StateDir)
	must(t, err)
	must(t, store.Clean())
	expect(t, job.Dir, nil)
	must(t, store.Close())
}

func TestTemporaryFilesOfHooksLieInADirectoryThatGoes(t *testing.T) {
	for name, c := range map[string]struct {
		temp, want string
		mode       os.FileMode
	}{
		"as the user has it":       {"TMPDIR=mine", "mine/dib_tmp.abcd", 0o751 | os.ModeSticky},
		"where there is none":      {"TMPDIR=not/there", "state/builds/abcd/dib_tmp.abcd", 0o755},
		"where it is no directory": {"TMPDIR=file", "state/builds/abcd/dib_tmp.abcd", 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			job := stored(t)
			before := map[string]string{"mine": "dir", "file": "file x"}
			grow(t, job.Dir, before)
			must(t, os.Chmod(filepath.Join(job.Dir, "mine"), 0o751|os.ModeSticky))
			job.Environ, job.StateDir = []string{c.temp}, filepath.Join(job.Dir, "state")
			w, err := openWorkspace(job)
			must(t, err)
			if w.temp != filepath.Join(job.Dir, c.want) {
				t.Errorf("it is %s", w.temp)
			}
			if info, err := os.Stat(w.temp); err != nil || info.Mode() != c.mode|os.ModeDir {
				t.Errorf("got %v, %v", info, err)
			}
			grow(t, w.temp, map[string]string{"left/behind": "file x"})
			must(t, w.forgetTemp([]container.Volume{{Source: w.temp + "/left"}}))
			if _, err := os.Stat(w.temp); err != nil {
				t.Errorf("what is bound below the target is gone: %v", err)
			}
			must(t, w.forgetTemp([]container.Volume{{Source: w.build}}))
			if _, err := os.Stat(w.temp); err == nil {
				t.Error("it stays")
			}
			grow(t, w.temp, map[string]string{"left/again": "file x"})
			must(t, w.close())
			must(t, os.RemoveAll(job.StateDir))
			expect(t, job.Dir, before)
		})
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
