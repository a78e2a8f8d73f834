package pypi

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/requirement"
)

func TestDirectoriesThatAreNoMirrorAreTold(t *testing.T) {
	name := wheelName("leaf", "1.0")
	cases := map[Problem]string{
		MirrorAbsent:  filepath.Join(t.TempDir(), "absent"),
		MirrorEmpty:   t.TempDir(),
		MirrorFlat:    directoryOf(t, map[string][]byte{name: nil, "README": nil}),
		MirrorForeign: directoryOf(t, map[string][]byte{"photo.jpg": nil}),
	}
	for want, dir := range cases {
		var problem *MirrorError
		if err := CheckMirror(dir); !errors.As(err, &problem) || problem.Problem != want {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		m, err := OpenMirror(dir)
		if (err == nil) != (want == MirrorAbsent || want == MirrorEmpty) {
			t.Errorf("%s: %v", dir, err)
		}
		if err == nil {
			m.Close()
		}
		if want == MirrorFlat && !strings.Contains(problem.Hint(), "dibber pypi sync --upstream "+dir) {
			t.Error(problem.Hint())
		}
	}
	dir, _ := filled(t)
	if err := CheckMirror(dir); err != nil {
		t.Error(err)
	}
}

// filled makes a mirror of a flat directory.
func filled(t *testing.T) (mirror, flat string) {
	t.Helper()
	flat = directoryOf(t, map[string][]byte{
		wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), wheelName("leaf", "1.1"): wheel(t, "leaf", "1.1"),
		"twig-1.0.tar.gz": sdist(t, "twig", "1.0", nil),
	})
	mirror = t.TempDir()
	if _, err := Sync(t.Context(), SyncOptions{Mirror: openMirror(t, mirror), Sources: []Source{source(t, flat)}, All: true}); err != nil {
		t.Fatal(err)
	}
	return mirror, flat
}

// TestAWriterKilledBetweenAnyTwoStepsLeavesAMirrorThatWorks stops keeping at each
// step, and lets the next writer come.
func TestAWriterKilledBetweenAnyTwoStepsLeavesAMirrorThatWorks(t *testing.T) {
	flat := directoryOf(t, map[string][]byte{wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), wheelName("leaf", "1.1"): wheel(t, "leaf", "1.1")})
	killed := errors.New("killed")
	for stop := 1; ; stop++ {
		dir := t.TempDir()
		fill := func(pause func(string) error) error {
			m := openMirror(t, dir)
			m.pause = pause
			_, err := Sync(t.Context(), SyncOptions{Mirror: m, Sources: []Source{source(t, flat)}, All: true})
			return err
		}
		steps, at := 0, ""
		err := fill(func(step string) error {
			if steps++; steps == stop {
				at = step
				return killed
			}
			return nil
		})
		if err == nil {
			if stop < 12 {
				t.Fatalf("only %d steps", stop)
			}
			return
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, partDir, "1-1"), []byte("half"), 0o644)
		listed(t, dir, at)
		if err := fill(nil); err != nil {
			t.Fatalf("after a kill %s: %v", at, err)
		}
		found, err := openMirror(t, dir).Verify(t.Context(), VerifyOptions{})
		if err != nil || len(found.Faults) != 0 || found.Files != 2 {
			t.Errorf("after a kill %s: %+v %v", at, found, err)
		}
	}
}

// listed makes sure that every page that is there names only what is there.
func listed(t *testing.T, dir, at string) {
	t.Helper()
	m := openMirror(t, dir)
	p, err := m.Project("leaf")
	if err != nil {
		t.Fatalf("after a kill %s: %v", at, err)
	}
	if p == nil {
		return
	}
	for _, f := range p.Files {
		file, err := m.open("leaf", f)
		if err != nil {
			t.Errorf("after a kill %s: %v", at, err)
			continue
		}
		file.Close()
	}
}

func TestVerifyNamesEachFaultAndMends(t *testing.T) {
	dir, flat := filled(t)
	m := openMirror(t, dir)
	spoil := func(name string, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spoil("leaf/"+wheelName("leaf", "1.0"), "spoilt")
	spoil("leaf/"+wheelName("leaf", "1.1")+".metadata", "Name: other")
	spoil("leaf/stray-1.0.tar.gz", "stray")
	spoil("twig/index.html", "nothing")
	spoil("index.html", "nothing")
	spoil(".dibber/part/1-1", "half")
	os.Remove(filepath.Join(dir, "twig/twig-1.0.tar.gz"))
	found, err := m.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, f := range found.Faults {
		text += f.Path + ": " + f.What + "\n"
	}
	for _, want := range []string{
		"leaf/" + wheelName("leaf", "1.0") + ": 6 bytes", "leaf/" + wheelName("leaf", "1.1") + ".metadata: ", "stray-1.0.tar.gz: no page",
		"twig/index.html: ", dir + "/index.html: ", "part/1-1: left", "twig-1.0.tar.gz: it is gone",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told in\n%s", want, text)
		}
	}
	if len(found.Faults) != 7 {
		t.Errorf("%d faults:\n%s", len(found.Faults), text)
	}
	found, err = m.Verify(t.Context(), VerifyOptions{Repair: true, Sources: []Source{source(t, flat)}})
	if err != nil || found.Wrong() != 0 {
		t.Errorf("not mended: %+v %v", found, err)
	}
	if found, err = m.Verify(t.Context(), VerifyOptions{}); err != nil || len(found.Faults) != 0 {
		t.Errorf("still wrong: %+v %v", found, err)
	}
}

func TestAMirrorOfAnotherProgramIsReadAndNotSpoilt(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	dir := t.TempDir()
	page := `<a href="` + wheelName("leaf", "1.0") + `#sha256=` + sum(leaf) + `">x</a>`
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("leaf/index.html", page)
	write("leaf/"+wheelName("leaf", "1.0"), string(leaf))
	write("twig/index.html", `<a href="../../packages/twig-1.0.tar.gz">x</a>`)
	base, _ := serve(t, dir, 0)
	wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
	flat := directoryOf(t, map[string][]byte{wheelName("leaf", "1.1"): wheel(t, "leaf", "1.1"), "twig-1.1.tar.gz": sdist(t, "twig", "1.1", nil)})
	_, err := Sync(t.Context(), SyncOptions{Mirror: openMirror(t, dir), Sources: []Source{source(t, flat)}, All: true})
	if err == nil || !strings.Contains(err.Error(), "another program") {
		t.Error(err)
	}
	wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
	wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.1"))
}

// world are the packages of the tests below.
func world(t *testing.T) map[string][]byte {
	return map[string][]byte{
		wheelName("app", "1.0"):  wheel(t, "app", "1.0", "leaf>=1", "twig; extra == 'more'", "never; python_version < '3'"),
		wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), wheelName("leaf", "2.0"): wheel(t, "leaf", "2.0"), wheelName("leaf", "3.0rc1"): wheel(t, "leaf", "3.0rc1"),
		"twig-1.0.tar.gz":        sdist(t, "twig", "1.0", map[string]string{"pyproject.toml": "[build-system]\nrequires = ['bark>=3']\n"}),
		wheelName("bark", "3.0"): wheel(t, "bark", "3.0"), wheelName("old", "1.0"): wheel(t, "old", "1.0", "leaf<2"),
		"leaf-9.0-cp27-cp27m-win32.whl": wheel(t, "leaf", "9.0"),
	}
}

// sync fills a mirror and tells what is in it.
func sync1(t *testing.T, dir, from string, change func(*SyncOptions), requirements ...string) (string, error) {
	t.Helper()
	target, err := dist.NewTarget("3.11", "manylinux_2_36_x86_64")
	if err != nil {
		t.Fatal(err)
	}
	o := SyncOptions{Mirror: openMirror(t, dir), Sources: []Source{source(t, from)}, Targets: []*dist.Target{target}}
	for _, text := range requirements {
		text, hash, _ := strings.Cut(text, " --hash=")
		r, err := requirement.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		l := requirement.Line{Requirement: r, From: "the test"}
		if hash != "" {
			l.Hashes = []string{hash}
		}
		o.File.Lines = append(o.File.Lines, l)
	}
	if change != nil {
		change(&o)
	}
	_, err = Sync(context.Background(), o)
	files, _ := filepath.Glob(filepath.Join(dir, "*/*-*"))
	var names []string
	for _, f := range files {
		if !strings.HasSuffix(f, ".metadata") {
			names = append(names, strings.TrimSuffix(filepath.Base(f), "-py3-none-any.whl"))
		}
	}
	return strings.Join(names, " "), err
}

func TestSyncTakesTheNewestThatAllCanTake(t *testing.T) {
	files := world(t)
	up := newUpstream(t, files)
	for _, from := range []string{up.URL + "/simple", directoryOf(t, files)} {
		for want, asked := range map[string][]string{
			"app-1.0 leaf-2.0":                          {"app"},
			"app-1.0 bark-3.0 leaf-2.0 twig-1.0.tar.gz": {"app[more]"},
			"app-1.0 leaf-1.0 old-1.0":                  {"app", "old"},
			"leaf-3.0rc1":                               {"leaf>=3.0rc1"},
			"leaf-1.0":                                  {"leaf!=2.0"},
			"leaf-2.0":                                  {"leaf; python_version >= '3'", "nothing; sys_platform == 'win32'"},
		} {
			got, err := sync1(t, t.TempDir(), from, nil, asked...)
			if err != nil || got != want {
				t.Errorf("%v from %s: %s, not %s: %v", asked, from, got, want, err)
			}
		}
	}
	got, err := sync1(t, t.TempDir(), up.URL+"/simple", func(o *SyncOptions) { o.NoDeps = true }, "app")
	if err != nil || got != "app-1.0" {
		t.Error(got, err)
	}
	got, err = sync1(t, t.TempDir(), up.URL+"/simple", func(o *SyncOptions) { o.File.Prereleases = true }, "leaf")
	if err != nil || got != "leaf-3.0rc1" {
		t.Error(got, err)
	}
}

func TestWhatCannotBeSyncedIsToldWithWhoAsks(t *testing.T) {
	files := world(t)
	up := newUpstream(t, files)
	sha := sum(files[wheelName("leaf", "1.0")])
	other := sum(files[wheelName("leaf", "2.0")])
	for want, asked := range map[string][]string{
		"<2 (by old 1.0), >=2 (by the test)":     {"old", "leaf>=2"},
		"there are 9.0, 3.0rc1, 2.0, 1.0":        {"leaf>10"},
		"no index knows absent, which the test":  {"absent"},
		"must be pinned by == and have a --hash": {"leaf==1.0 --hash=sha256:" + sha, "old"},
		"no file of leaf serves":                 {"leaf==1.0 --hash=sha256:" + other},
		"at an address of its own":               {"leaf @ https://example.org/leaf-1.0.tar.gz"},
	} {
		if got, err := sync1(t, t.TempDir(), up.URL+"/simple", nil, asked...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %s %v, not %q", asked, got, err, want)
		}
	}
	flat := directoryOf(t, files) // tells no hashes before a file is there
	dir := t.TempDir()
	if got, err := sync1(t, dir, flat, nil, "leaf==1.0 --hash=sha256:"+other); err == nil || got != "" {
		t.Error(got, err)
	}
	if got, err := sync1(t, dir, flat, nil, "leaf==1.0 --hash=sha256:"+sha); err != nil || got != "leaf-1.0" {
		t.Error(got, err)
	}
}

func TestSyncFetchesNothingTwiceAndMendsWhatIsDamaged(t *testing.T) {
	up := newUpstream(t, world(t))
	dir := t.TempDir()
	name := wheelName("leaf", "2.0")
	for range 2 {
		if _, err := sync1(t, dir, up.URL+"/simple", nil, "app"); err != nil {
			t.Fatal(err)
		}
	}
	if n := up.count("/files/" + name); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "leaf", name), []byte("spoilt"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := ""
	if _, err := sync1(t, dir, up.URL+"/simple", func(o *SyncOptions) { o.Log = func(s string) { log += s } }, "app"); err != nil {
		t.Fatal(err)
	}
	found, err := openMirror(t, dir).Verify(t.Context(), VerifyOptions{})
	if err != nil || len(found.Faults) != 0 || !strings.Contains(log, name+" is damaged") {
		t.Errorf("%+v %v %s", found, err, log)
	}
}

func TestAPageThatCannotBeReadIsMadeAnewOfTheOther(t *testing.T) {
	dir, _ := filled(t)
	page := filepath.Join(dir, "leaf", pageJSON)
	if err := os.WriteFile(page, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := openMirror(t, dir)
	for _, repair := range []bool{false, true} {
		found, err := m.Verify(t.Context(), VerifyOptions{Repair: repair})
		if err != nil || len(found.Faults) != 1 || found.Faults[0].Path != page || found.Faults[0].Repaired != repair {
			t.Errorf("repair %v: %+v %v", repair, found, err)
		}
	}
	found, err := m.Verify(t.Context(), VerifyOptions{})
	if p, _ := m.Project("leaf"); err != nil || len(found.Faults) != 0 || p == nil || len(p.Files) != 2 || p.Files[0].SHA256() == "" || !p.Files[0].Metadata {
		t.Errorf("%+v %+v %v", found, p, err)
	}
}

func TestFilesOfAProjectWithoutAPageAreNamed(t *testing.T) {
	dir, _ := filled(t)
	for _, page := range []string{pageJSON, pageHTML} {
		if err := os.Remove(filepath.Join(dir, "twig", page)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"notes", "mine/twig-1.0.tar.gz"} { // of somebody else
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	m := openMirror(t, dir)
	if err := m.Tidy(); err != nil {
		t.Fatal(err)
	}
	found, err := m.Verify(t.Context(), VerifyOptions{Repair: true})
	if err != nil || len(found.Faults) != 1 || found.Faults[0].Path != filepath.Join(dir, "twig/twig-1.0.tar.gz") || !found.Faults[0].Repaired {
		t.Errorf("%+v %v", found, err)
	}
}

// Another process may keep a file while this one reads those before it.
func TestRepairLeavesWhatComesMeanwhile(t *testing.T) {
	dir, _ := filled(t)
	more := directoryOf(t, map[string][]byte{wheelName("leaf", "1.2"): wheel(t, "leaf", "1.2")})
	name := wheelName("leaf", "1.0")
	if err := os.WriteFile(filepath.Join(dir, "leaf", name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	slow := meanwhile{func() {
		if _, err := Sync(t.Context(), SyncOptions{Mirror: openMirror(t, dir), Sources: []Source{source(t, more)}, All: true}); err != nil {
			t.Error(err)
		}
	}}
	found, err := openMirror(t, dir).Verify(t.Context(), VerifyOptions{Repair: true, Sources: []Source{slow}})
	if err != nil || len(found.Faults) != 1 || found.Faults[0].Path != filepath.Join(dir, "leaf", name) {
		t.Errorf("%+v %v", found, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "leaf", wheelName("leaf", "1.2"))); err != nil {
		t.Error(err)
	}
}

// meanwhile is a source that has nothing, and while it is asked something happens.
type meanwhile struct{ happens func() }

func (m meanwhile) Page(context.Context, string, *Page) (*Page, error) {
	m.happens()
	return nil, ErrNoProject
}

func (m meanwhile) Open(context.Context, string) (io.ReadCloser, int64, error) {
	return nil, 0, ErrNoProject
}

func (m meanwhile) String() string { return "meanwhile" }
