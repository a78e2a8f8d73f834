//go:build containers_image_openpgp

package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// newStore opens an empty store.
func newStore(t *testing.T) *Store {
	t.Helper()
	t.Setenv("TMPDIR", os.TempDir()) // builds change it
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// builds lists what is in the store's folder of builds.
func builds(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "builds"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestNoBuildIsSweptWhileItBegins(t *testing.T) {
	store := newStore(t)
	stop := make(chan struct{})
	var sweepers sync.WaitGroup
	for range 3 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := store.Sweep(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 300 {
		id := fmt.Sprint("b", i)
		lock, err := store.claim(id, os.O_CREATE|os.O_EXCL)
		if err != nil {
			t.Fatalf("build %s: %v", id, err)
		}
		if _, err := os.Lstat(store.lockPath(id)); err != nil {
			t.Fatalf("build %s was swept away as soon as it began: %v", id, err)
		}
		if err := errors.Join(os.Remove(store.lockPath(id)), lock.Close()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	sweepers.Wait()
	if left := builds(t, store); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestANameIsClaimedOnce(t *testing.T) {
	store := newStore(t)
	first, err := store.NewBuild("name")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.NewBuild("name"); err == nil || !strings.Contains(err.Error(), "build name") {
		t.Errorf("while it runs: %v", err)
	}
	if err := first.Keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.NewBuild("name"); err == nil {
		t.Error("a kept build was taken over")
	}
	if _, err := os.Stat(first.keptPath()); err != nil {
		t.Error(err)
	}
	if err := store.Clean(); err != nil {
		t.Fatal(err)
	}
	again, err := store.NewBuild("name")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if left := builds(t, store); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOnlyWholeNotesAreRemoved(t *testing.T) {
	store, home := newStore(t), t.TempDir()
	mkdir := func(name string) string {
		dir := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	blank, line := mkdir("my tmp"), mkdir("two\nlines")
	keep := []string{mkdir("my"), mkdir("two"), mkdir("cut"), mkdir("relative")}
	t.Chdir(home)
	dead, err := store.NewBuild("dead")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{blank, line} {
		if err := dead.Note(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := dead.Note("relative"); err == nil {
		t.Error("a relative path was noted")
	}
	f, err := os.OpenFile(dead.notePath(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("relative\x00\x00" + filepath.Join(home, "cut")) // the rest did not reach the disk
	f.Close()
	dead.lock.Close() // as the kernel does when the process dies
	if err := store.Sweep(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{blank, line, dead.Dir()} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q is still there", dir)
		}
	}
	for _, dir := range keep {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestAContainerWithoutALockFileIsSwept(t *testing.T) {
	store := newStore(t)
	lost, err := store.NewBuild("lost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lost.New(context.Background(), Base{}); err != nil {
		t.Fatal(err)
	}
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.storage.Container(namePrefix + "lost"); err == nil {
		t.Error("the container is still there")
	}
	if left := builds(t, store); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAStoreClosesWhileOthersUseIt(t *testing.T) {
	store := newStore(t)
	b, err := store.NewBuild("other")
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.New(context.Background(), Base{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Remove(), b.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAKeptBuildIsOpenedAgainAndAgain(t *testing.T) {
	store := newStore(t)
	b, err := store.NewBuild("kept")
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.New(context.Background(), Base{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Root(), "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Unmount(), b.Keep(), store.Sweep()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, c, err := store.Reopen("kept")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(c.Root(), "file")); err != nil || string(text) != "text" {
			t.Errorf("%q, %v", text, err)
		}
		if _, _, err := store.Reopen("kept"); !errors.Is(err, errClaimed) {
			t.Errorf("opened twice at a time: %v", err)
		}
		if err := errors.Join(store.Clean(), c.Unmount(), b.Keep()); err != nil { // Clean leaves it, as it is in use
			t.Fatal(err)
		}
	}
	if err := store.Clean(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"kept", "", ".", "..", "../builds/kept", "never"} {
		if _, _, err := store.Reopen(id); err == nil || !strings.Contains(err.Error(), "no build") {
			t.Errorf("%q: %v", id, err)
		}
	}
}
