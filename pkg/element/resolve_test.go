package element_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
)

// files makes a tree from lines "path: content"; a path that ends in "/" is a
// directory, a content that starts with "-> " a symbolic link, and one that
// starts with "#!" makes an executable file.
func files(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range lines {
		name, content, _ := strings.Cut(line, ": ")
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		link, isLink := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case isLink:
			must(t, os.Symlink(link, path))
		case strings.HasPrefix(content, "#!"):
			must(t, os.WriteFile(path, []byte(content), 0o755))
		default:
			must(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a small ELEMENTS_PATH entry with the shapes that matter.
func world(t *testing.T) string {
	return files(t,
		"base/element-deps: dib-init\n\n  pkg-map  \npkg-map\n",
		"dib-init/",
		"pkg-map/",
		"debian-minimal/element-deps: debootstrap\nself\n",
		"debian-minimal/element-provides: operating-system\n",
		"debian/element-deps: debian-minimal\n",
		"ubuntu/element-provides: operating-system\n",
		"debootstrap/element-deps: dpkg\n",
		"dpkg/element-deps: debootstrap\n",
		"self/element-deps: self\n",
		"vm/element-deps: block-device\n",
		"block-device-mbr/element-provides: block-device\n",
		"block-device-efi/element-provides: block-device\nefi-tools\n",
		"efi-tools/element-deps: needless\n",
		"needless/",
		"wants-efi-tools/element-deps: efi-tools\n",
		"commented/element-deps: # a comment\n",
		"broken/element-deps: gone\n",
		"windows/element-deps: self\r\npkg-map\r\n",
		"a file: x\n",
	)
}

func TestResolveClosesOverDepsAndProvides(t *testing.T) {
	dir := world(t)
	cases := []struct{ names, want string }{
		{"debian-minimal", "debian-minimal debootstrap dpkg self"},
		{"base debian", "base debian debian-minimal debootstrap dib-init dpkg pkg-map self"},
		{"ubuntu ", "ubuntu"},
		{"vm ubuntu block-device-mbr", "block-device-mbr ubuntu vm"},
		{"block-device-mbr vm ubuntu", "block-device-mbr ubuntu vm"},
		{"vm vm ubuntu block-device-mbr", "block-device-mbr ubuntu vm"},
		{"ubuntu windows", "pkg-map self ubuntu windows"},
		// What provides efi-tools comes first, so the real one is dropped and its deps are not met.
		{"block-device-efi wants-efi-tools ubuntu", "block-device-efi ubuntu wants-efi-tools"},
		// Listed elements come before what they depend on.
		{"wants-efi-tools block-device-efi ubuntu", "block-device-efi ubuntu wants-efi-tools"},
	}
	for _, c := range cases {
		set, err := element.Resolve([]string{dir}, strings.Fields(c.names))
		if err != nil {
			t.Errorf("%s: %v", c.names, err)
			continue
		}
		if got := set.ImageElement(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.names, got, c.want)
		}
	}
}

func TestAProviderMetLateDropsTheRealElementButKeepsItsDeps(t *testing.T) {
	dir := files(t,
		"os/element-provides: operating-system\n",
		"first/element-deps: tools\nlink\n",
		"tools/element-deps: of-tools\n",
		"of-tools/",
		"link/element-provides: tools\n",
	)
	set, err := element.Resolve([]string{dir}, []string{"first", "os"})
	must(t, err)
	if got, want := set.ImageElement(), "first link of-tools os"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestResolveRefuses(t *testing.T) {
	dir := world(t)
	cases := []struct{ names, want string }{
		{"", "cannot resolve elements: Please include an operating system element"},
		{"base", "cannot resolve elements: Please include an operating system element"},
		{"nosuch", "cannot resolve elements: Element 'nosuch' not found"},
		{"broken ubuntu", "cannot resolve elements: Element 'gone' not found (needed by 'broken')"},
		{"commented ubuntu", "cannot resolve elements: Element '# a comment' not found (needed by 'commented')"},
		{"vm debian-minimal", "cannot resolve elements: Element 'block-device' not found (needed by 'vm')"},
		{"ubuntu debian-minimal", "cannot resolve elements: operating-system: already provided by ['ubuntu'], and 'debian-minimal' provides it too"},
		{"ubuntu debian", "cannot resolve elements: operating-system: already provided by ['ubuntu'], and 'debian-minimal' provides it too"},
		{"ubuntu ubuntu", "cannot resolve elements: operating-system: already provided by ['ubuntu'], which is listed twice"},
		{"block-device-mbr block-device-efi ubuntu", "cannot resolve elements: block-device: already provided by ['block-device-mbr'], and 'block-device-efi' provides it too"},
		{"block-device-efi efi-tools ubuntu", "cannot resolve elements: efi-tools: already provided by ['block-device-efi'], so 'efi-tools' must not be listed beside it"},
		{"operating-system ubuntu", "cannot resolve elements: Element 'operating-system' not found"},
		{"ubuntu operating-system", "cannot resolve elements: operating-system: already provided by ['ubuntu'], so 'operating-system' must not be listed beside it"},
	}
	for _, c := range cases {
		_, err := element.Resolve([]string{dir}, strings.Fields(c.names))
		if err == nil || err.Error() != c.want {
			t.Errorf("%q\n got %v\nwant %s", c.names, err, c.want)
		}
	}
}

func TestErrorsOfResolveAreTyped(t *testing.T) {
	dir := world(t)
	_, err := element.Resolve([]string{dir}, []string{"ubuntu", "debian"})
	var provided *element.ProvidedError
	if !errors.As(err, &provided) || !slices.Equal(provided.By, []string{"ubuntu", "debian-minimal"}) {
		t.Errorf("got %#v", err)
	}
	_, err = element.Resolve([]string{dir}, []string{"ubuntuu"})
	var missing *element.NotFoundError
	if !errors.As(err, &missing) || !slices.Equal(missing.Near, []string{"ubuntu"}) {
		t.Errorf("got %#v", err)
	}
	_, err = element.Resolve([]string{dir}, []string{"base"})
	var noOS *element.MissingOSError
	if !errors.As(err, &noOS) {
		t.Errorf("got %#v", err)
	}
}

func TestNearNamesAreOfferedBestFirst(t *testing.T) {
	dir := files(t, "ubuntu/", "ubuntu-minimal/", "ubutnu-x/", "debian/", "real/", "alias: -> real", "far-away/")
	cases := map[string][]string{
		"ubutnu": {"ubuntu", "ubutnu-x"},
		"alias":  {"real"},
		"debiam": {"debian"},
		"zzzzzz": {},
	}
	for name, want := range cases {
		_, err := element.Resolve([]string{dir}, []string{name})
		var missing *element.NotFoundError
		if !errors.As(err, &missing) || !slices.Equal(missing.Near, want) {
			t.Errorf("%s: got %#v, want %v", name, err, want)
		}
	}
}

func TestPathEntriesMustBeDirectories(t *testing.T) {
	dir := world(t)
	for _, entry := range []string{"", filepath.Join(dir, "gone"), filepath.Join(dir, "a file")} {
		_, err := element.Resolve([]string{dir, entry}, []string{"ubuntu"})
		var bad *element.PathError
		if !errors.As(err, &bad) || bad.Entry != entry {
			t.Errorf("%q: got %v", entry, err)
		}
	}
}

func TestEarlierPathEntryWins(t *testing.T) {
	mine := files(t, "ubuntu/element-provides: operating-system\n", "ubuntu/element-deps: extra\n", "extra/", "unused/")
	theirs := files(t, "ubuntu/element-provides: operating-system\n", "unused/")
	set, err := element.Resolve([]string{mine, theirs}, []string{"ubuntu"})
	must(t, err)
	if got := set.ImageElement(); got != "extra ubuntu" {
		t.Errorf("got %s", got)
	}
	e, ok := set.Lookup("ubuntu")
	if !ok || e.Dir != filepath.Join(mine, "ubuntu") {
		t.Errorf("got %+v", e)
	}
	want := []string{"element " + filepath.Join(mine, "ubuntu") + " overrides " + filepath.Join(theirs, "ubuntu")}
	if !slices.Equal(set.Warnings, want) {
		t.Errorf("got %q, want %q", set.Warnings, want)
	}
	if _, ok := set.Lookup("unused"); ok {
		t.Error("unused is in the set")
	}
}

func TestSymbolicLinkTakesTheNameOfItsTarget(t *testing.T) {
	real := files(t, "real-os/element-provides: operating-system\n")
	dir := files(t, "nick: -> "+filepath.Join(real, "real-os"), "lost: -> nowhere")
	set, err := element.Resolve([]string{dir}, []string{"real-os"})
	must(t, err)
	if got, want := set.YAML(), "real-os: "+filepath.Join(real, "real-os")+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := element.Resolve([]string{dir}, []string{"nick"}); err == nil {
		t.Error("the link's own name is no element")
	}
}

func TestNamesThatMeanSomethingToAShellAreRefused(t *testing.T) {
	dir := files(t, "os/element-provides: operating-system\n", "os/element-deps: $(touch x)\n", "$(touch x)/", "two words/", "-n/")
	for _, name := range []string{"os", "two words", "-n"} {
		_, err := element.Resolve([]string{dir}, []string{name})
		var bad *element.NameError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestListsOfNamesMustBeRegularAndSmall(t *testing.T) {
	dir := files(t, "os/element-deps/", "big/element-deps: "+strings.Repeat("x", 1<<20+1))
	for _, name := range []string{"os", "big"} {
		_, err := element.Resolve([]string{dir}, []string{name})
		if err == nil || !strings.HasPrefix(err.Error(), "cannot read element '"+name+"': ") {
			t.Errorf("got %v", err)
		}
	}
}

func TestDefaultBlockDeviceLooksOnlyAtWhatIsListed(t *testing.T) {
	cases := []struct {
		names, arch string
		uefi        bool
		want        string
	}{
		{"debian", "amd64", false, "debian"},
		{"vm debian", "amd64", false, "vm debian block-device-mbr"},
		{"vm debian", "amd64", true, "vm debian block-device-efi"},
		{"vm debian", "arm64", false, "vm debian block-device-efi"},
		{"vm debian", "aarch64", false, "vm debian block-device-efi"},
		{"vm debian", "ppc64el", true, "vm debian block-device-mbr"},
		{"vm block-device-gpt debian", "arm64", true, "vm block-device-gpt debian"},
		{"needs-vm debian", "amd64", true, "needs-vm debian"},
	}
	for _, c := range cases {
		names := strings.Fields(c.names)
		got := strings.Join(element.DefaultBlockDevice(names, c.arch, c.uefi), " ")
		if got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func FuzzResolveNeverPanics(f *testing.F) {
	f.Add("a\nb\n", "operating-system", "a b")
	f.Add("b", "b", "b a b")
	f.Add("# x\r\n\x00", "a\na", "a a")
	f.Fuzz(func(t *testing.T, deps, provides, names string) {
		dir := t.TempDir()
		for _, name := range []string{"a", "b"} {
			must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		}
		must(t, os.WriteFile(filepath.Join(dir, "a", "element-deps"), []byte(deps), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "b", "element-provides"), []byte(provides), 0o644))
		set, err := element.Resolve([]string{dir}, strings.Fields(names))
		if err == nil && !slices.IsSorted(set.Names()) {
			t.Errorf("got %v", set.Names())
		}
	})
}
