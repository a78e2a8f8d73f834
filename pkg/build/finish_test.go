//go:build containers_image_openpgp

package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machineResolver is what lendResolver gives hooks.
func machineResolver() string {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return "file nameserver 8.8.8.8\n"
	}
	return "file " + string(text)
}

func TestTheTargetsResolverIsPutAsideAndComesBack(t *testing.T) {
	for name, c := range map[string]struct{ before, lent map[string]string }{
		"a file":        {map[string]string{"etc/resolv.conf": "file own"}, map[string]string{"etc/resolv.conf.ORIG": "file own"}},
		"a link":        {map[string]string{"etc/resolv.conf": "-> ../run/stub"}, map[string]string{"etc/resolv.conf.ORIG": "-> ../run/stub"}},
		"a link out":    {map[string]string{"etc/resolv.conf": "-> /etc/shadow"}, map[string]string{"etc/resolv.conf.ORIG": "-> /etc/shadow"}},
		"none":          {map[string]string{"etc": "dir"}, map[string]string{}},
		"an older copy": {map[string]string{"etc/resolv.conf": "file own", "etc/resolv.conf.ORIG": "file old"}, map[string]string{"etc/resolv.conf.ORIG": "file own"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plant(t, c.before)
			must(t, lendResolver(p.Root))
			c.lent["etc/resolv.conf"] = machineResolver()
			expect(t, p.dir, c.lent)
			must(t, returnResolver(p.Root, false))
			delete(c.before, "etc/resolv.conf.ORIG")
			expect(t, p.dir, c.before)
		})
	}
}

func TestATreeWithoutEtcGetsOneForTheResolver(t *testing.T) {
	p := plant(t, nil)
	must(t, lendResolver(p.Root))
	expect(t, p.dir, map[string]string{"etc/resolv.conf": machineResolver()})
	must(t, returnResolver(p.Root, false))
	expect(t, p.dir, map[string]string{"etc": "dir"})
}

func TestAResolverThatHooksChoseStays(t *testing.T) {
	for name, c := range map[string]struct {
		chosen    string
		immutable bool
	}{"a link": {"-> ../run/stub", false}, "an immutable file": {"file nameserver 9.9.9.9", true}} {
		t.Run(name, func(t *testing.T) {
			p := plant(t, map[string]string{"etc/resolv.conf": "file own"})
			must(t, lendResolver(p.Root))
			must(t, p.Remove(resolv))
			grow(t, p.dir, map[string]string{resolv: c.chosen})
			must(t, returnResolver(p.Root, c.immutable))
			expect(t, p.dir, map[string]string{resolv: c.chosen})
		})
	}
}

func TestAnImmutableResolverThatIsGoneGivesTheTargetsOwnBack(t *testing.T) {
	p := plant(t, map[string]string{resolvOriginal: "file own"})
	must(t, returnResolver(p.Root, true))
	expect(t, p.dir, map[string]string{resolv: "file own"})
}

func TestALinkedEtcInsideTheTreeIsFollowed(t *testing.T) {
	p := plant(t, map[string]string{"etc": "-> usr/etc", "usr/etc/resolv.conf": "file own"})
	must(t, lendResolver(p.Root))
	expect(t, p.dir, map[string]string{"etc": "-> usr/etc", "usr/etc/resolv.conf": machineResolver(), "usr/etc/resolv.conf.ORIG": "file own"})
	must(t, returnResolver(p.Root, false))
	expect(t, p.dir, map[string]string{"etc": "-> usr/etc", "usr/etc/resolv.conf": "file own"})
}

func TestAnEtcThatLeadsNowhereOrOutIsRefusedByName(t *testing.T) {
	for _, to := range []string{"nowhere", "../outside", "/proc/self/cwd"} {
		p := plant(t, map[string]string{"etc": "-> " + to})
		before := grown(t, p.dir)
		for _, err := range []error{lendResolver(p.Root), writeFstab(p.Root, "text")} {
			if err == nil || !strings.Contains(err.Error(), "the target's /etc/") {
				t.Errorf("etc -> %s: the error is %v", to, err)
			}
		}
		if to != "nowhere" { // nothing to give back there
			if err := returnResolver(p.Root, false); err == nil || !strings.Contains(err.Error(), "the target its own /etc/resolv.conf") {
				t.Errorf("etc -> %s: the error is %v", to, err)
			}
		}
		expect(t, p.dir, before)
	}
}

func TestTheLastWordOfChattrCounts(t *testing.T) {
	for notes, want := range map[string]bool{
		"":                            false,
		"+i\t/etc/resolv.conf\n":      true,
		"+i\t/etc/resolv.conf":        true,
		"=ai\t/usr/etc/resolv.conf\n": true,
		"+i\t/etc/resolv.conf.bak\n":  false,
		"+a\t/etc/resolv.conf\n":      false,
		"-i\t/etc/resolv.conf\n":      false,
		"+i\t/etc/resolv.conf\n-i\t/etc/resolv.conf\n":             false,
		"-i\t/etc/resolv.conf\n+i\t/etc/resolv.conf\n+i\t/x\n":     true,
		"+i\t/etc/resolv.conf\n\x00\n\t\t\ni\n-i /etc/resolv.conf": true,
	} {
		if got := isImmutable(notes); got != want {
			t.Errorf("%q: %v", notes, got)
		}
	}
}

func TestCleaningEmptiesTmpAndLogsAndNothingElse(t *testing.T) {
	p := plant(t, map[string]string{
		"tmp/a/b/c":         "file x",
		"tmp/out":           "-> ../../outside/a.log",
		"tmp/outdir":        "-> ../../outside",
		"tmp/.hidden":       "file x",
		"var/tmp/kept":      "file x",
		"var/log/syslog":    "file text",
		"var/log/apt/term":  "file text",
		"var/log/empty":     "dir",
		"var/log/out":       "-> ../../../outside/a.log",
		"var/log/outdir":    "-> ../../../outside/log",
		"var/log/in":        "-> ../../etc/kept",
		"root/install.log":  "file text",
		"root/a/b.log":      "file text",
		"root/linked.log":   "-> ../../outside/a.log",
		"root/keep.logs":    "file text",
		"root/dir.log/keep": "file text",
		"etc/kept":          "file text",
	})
	must(t, clean(p.Root))
	expect(t, p.dir, map[string]string{
		"tmp":               "dir",
		"var/tmp/kept":      "file x",
		"var/log/syslog":    "file ",
		"var/log/apt/term":  "file ",
		"var/log/empty":     "dir",
		"var/log/out":       "-> ../../../outside/a.log",
		"var/log/outdir":    "-> ../../../outside/log",
		"var/log/in":        "-> ../../etc/kept",
		"root/a":            "dir",
		"root/linked.log":   "-> ../../outside/a.log",
		"root/keep.logs":    "file text",
		"root/dir.log/keep": "file text",
		"etc/kept":          "file text",
	})
}

func TestCleaningStopsAtSymbolicLinks(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"tmp in the tree":      {"tmp": "-> var/tmp", "var/tmp/kept": "file x"},
		"tmp out of the tree":  {"tmp": "-> ../outside"},
		"tmp absolute":         {"tmp": "-> /etc"},
		"tmp a file":           {"tmp": "file x"},
		"log out of the tree":  {"var/log": "-> ../../outside/log"},
		"log in the tree":      {"var/log": "-> ../srv", "srv/kept": "file x"},
		"var out of the tree":  {"var": "-> ../outside"},
		"var absolute":         {"var": "-> /var"},
		"var a file":           {"var": "file x"},
		"root out of the tree": {"root": "-> ../outside"},
		"root in the tree":     {"root": "-> home", "home/a.log": "file x"},
		"a loop":               {"tmp": "-> tmp", "var": "-> var", "root": "-> root"},
		"nothing":              {},
	} {
		t.Run(name, func(t *testing.T) {
			p := plant(t, files)
			must(t, clean(p.Root))
			expect(t, p.dir, files)
		})
	}
}

func TestCleaningCopesWithDeepAndClosedDirectories(t *testing.T) {
	p := plant(t, map[string]string{"tmp": "dir", "var/log": "dir"})
	for _, top := range []string{"tmp", "var/log"} {
		at, err := p.OpenRoot(top)
		must(t, err)
		for range 600 { // longer than any path that the kernel takes
			must(t, at.Mkdir("directory", 0o755))
			next, err := at.OpenRoot("directory")
			must(t, err)
			must(t, at.Close())
			at = next
		}
		must(t, at.WriteFile("end", []byte("text"), 0o644))
		must(t, at.Close())
	}
	must(t, clean(p.Root))
	entries, err := os.ReadDir(filepath.Join(p.dir, "tmp"))
	if err != nil || len(entries) > 0 {
		t.Errorf("tmp holds %v, %v", entries, err)
	}
	must(t, p.RemoveAll("var")) // the test's own cleanup knows only paths

	if os.Getuid() != 0 {
		t.Skip("directories without permissions need root, of a user namespace at least")
	}
	grow(t, p.dir, map[string]string{"tmp/closed/file": "file x", "var/log/closed/file": "file x"})
	for _, dir := range []string{"tmp/closed", "var/log/closed", "var/log", "tmp"} {
		must(t, p.Chmod(dir, 0))
	}
	must(t, clean(p.Root))
	expect(t, p.dir, map[string]string{"tmp": "dir", "var/log/closed/file": "file "})
}

func TestOnlyTmpAndLostFoundIsNoRootFileSystem(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		empty bool
	}{
		"nothing":         {nil, true},
		"tmp":             {map[string]string{"tmp/x": "file x", "lost+found": "dir"}, true},
		"a dot file":      {map[string]string{".x": "file x"}, false},
		"a dangling link": {map[string]string{"x": "-> nowhere"}, false},
		"a name with tmp": {map[string]string{"mytmp": "dir"}, false},
	} {
		p := plant(t, c.files)
		if empty, err := isEmpty(p.Root); err != nil || empty != c.empty {
			t.Errorf("%s: %v, %v", name, empty, err)
		}
		if err := checkRoot(p.Root); (err != nil) != c.empty {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFstabReplacesWhatIsThere(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"a file":     {"etc/fstab": "file own"},
		"a link out": {"etc/fstab": "-> ../../outside/fstab"},
		"no etc":     {},
	} {
		p := plant(t, files)
		must(t, writeFstab(p.Root, "LABEL=root / ext4\n"))
		t.Log(name)
		expect(t, p.dir, map[string]string{"etc/fstab": "file LABEL=root / ext4\n"})
	}
	p := plant(t, map[string]string{"etc/fstab": "file own"})
	must(t, writeFstab(p.Root, ""))
	expect(t, p.dir, map[string]string{"etc/fstab": "file own"})
}

func TestMountPointsAreMadeInsideTheTreeOrNotAtAll(t *testing.T) {
	p := plant(t, map[string]string{"boot": "-> usr/boot", "usr/boot": "dir"})
	must(t, makeMountPoints(p.Root, []string{"/", "/boot/efi", "/srv/../var/lib", "not/absolute"}))
	expect(t, p.dir, map[string]string{"boot": "-> usr/boot", "usr/boot/efi": "dir", "var/lib": "dir"})
	p = plant(t, map[string]string{"boot": "-> usr/boot"})
	must(t, makeMountPoints(p.Root, []string{"/boot/efi"}))
	expect(t, p.dir, map[string]string{"boot": "-> usr/boot", "usr/boot/efi": "dir"})
	for _, to := range []string{"../outside", "/tmp"} {
		p := plant(t, map[string]string{"boot": "-> " + to})
		err := makeMountPoints(p.Root, []string{"/boot/efi"})
		if err == nil || !strings.Contains(err.Error(), "mount point /boot/efi") {
			t.Errorf("boot -> %s: the error is %v", to, err)
		}
		expect(t, p.dir, map[string]string{"boot": "-> " + to})
	}
}
