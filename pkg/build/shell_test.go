//go:build containers_image_openpgp

package build

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/container"
)

func journal(t testing.TB, text string) string {
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheJournalTellsWhatIsBound(t *testing.T) {
	got, err := readJournal(journal(t, strings.Join([]string{
		"bind\t/home/me/a b\t/var/cache\trw",
		"bind\t/first\t/x\trw",
		"bind\t/dev\t/dev\trw",
		"bind\t/p\t/proc/sys/../bus\trw",
		"bind\t/s\t/sys/fs\tro",
		"bind\t/d\t/devel\tro",
		"bind\t/second\t/y/../x\tro",
		"bind\t/up\t/../../etc\trw", // stays below the target
	}, "\n")+"\n"))
	want := []container.Volume{
		{Source: "/home/me/a b", Target: "/var/cache"},
		{Source: "/d", Target: "/devel", ReadOnly: true},
		{Source: "/second", Target: "/x", ReadOnly: true},
		{Source: "/up", Target: "/etc"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := readJournal(journal(t, "")); err != nil || len(got) > 0 {
		t.Errorf("an empty journal: %v, %v", got, err)
	}
}

func TestAJournalThatSaysSomethingElseIsRefused(t *testing.T) {
	for _, line := range []string{
		"\n", "bind\n", "bind\t/a\t/b\n", "bind\t/a\t/b\trw\tx\n", "mount\t/a\t/b\trw\n",
		"bind\ta\t/b\trw\n", "bind\t\t/b\trw\n", "bind\t/a\tb\trw\n", "bind\t/a\t\trw\n", "bind\t/a\t/b\t\n", "bind\t/a\t/b\tRW\n",
		"bind\t/a\t/b\trw\n\n", "bind\t/" + strings.Repeat("a", 1<<17) + "\t/b\trw\n",
	} {
		if got, err := readJournal(journal(t, line)); err == nil || !strings.Contains(err.Error(), "the journal of binds") {
			t.Errorf("%.40q: %v, %v", line, got, err)
		}
	}
	if _, err := readJournal(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a journal that is gone was taken for an empty one")
	}
}

func FuzzJournal(f *testing.F) {
	f.Add("bind\t/a\t/b\trw\nbind\t/c\t/../proc\tro\n")
	f.Add("bind\t//\t/dev/../x/..\tro")
	f.Fuzz(func(t *testing.T, text string) {
		binds, err := readJournal(journal(t, text))
		seen := map[string]bool{}
		for _, b := range binds {
			if err != nil || !filepath.IsAbs(b.Source) || !filepath.IsAbs(b.Target) || filepath.Clean(b.Target) != b.Target || isKernelDir(b.Target) || seen[b.Target] {
				t.Errorf("%q gave %+v, %v", text, binds, err)
			}
			seen[b.Target] = true
		}
	})
}
