package pypi

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/requirement"
)

func TestOfOneVersionTheFileWithTheHashIsTaken(t *testing.T) {
	files := map[string][]byte{wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), "leaf-1.0.tar.gz": sdist(t, "leaf", "1.0", map[string]string{"pyproject.toml": "[build-system]\nrequires = []\n"})}
	up := newUpstream(t, files)
	for _, from := range []string{up.URL + "/simple", directoryOf(t, files)} {
		for want, name := range map[string]string{"leaf-1.0": wheelName("leaf", "1.0"), "leaf-1.0.tar.gz": "leaf-1.0.tar.gz"} {
			got, err := sync1(t, t.TempDir(), from, nil, "leaf==1.0 --hash=sha256:"+sum(files[name]))
			if err != nil || got != want {
				t.Errorf("%s from %s: %s %v", want, from, got, err)
			}
		}
		got, err := sync1(t, t.TempDir(), from, nil, "leaf==1.0 --hash=sha256:"+sum(files["leaf-1.0.tar.gz"]), "leaf --hash=sha256:"+sum(files[wheelName("leaf", "1.0")]))
		if err == nil || !strings.Contains(err.Error(), "are others than those of before") || got != "" {
			t.Errorf("two who ask for different hashes from %s: %s %v", from, got, err)
		}
	}
}

func TestWheelsAndSourcesAreTakenAsIsAsked(t *testing.T) {
	up := newUpstream(t, map[string][]byte{
		wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), wheelName("twig", "1.0"): wheel(t, "twig", "1.0"),
		"leaf-2.0.tar.gz": sdist(t, "leaf", "2.0", nil), "twig-1.0.tar.gz": sdist(t, "twig", "1.0", nil),
		wheelName("setuptools", "66.0"): wheel(t, "setuptools", "66.0"), wheelName("wheel", "0.38"): wheel(t, "wheel", "0.38"),
	})
	cases := []struct {
		want, onlyBinary, noBinary string
	}{
		{"leaf-2.0.tar.gz setuptools-66.0 twig-1.0 wheel-0.38", "", ""},
		{"leaf-1.0 twig-1.0", ":all:", ""},
		{"leaf-1.0 twig-1.0", "leaf", ""},
		{"leaf-1.0 setuptools-66.0 twig-1.0.tar.gz wheel-0.38", "leaf", "twig"},
	}
	for _, c := range cases {
		got, err := sync1(t, t.TempDir(), up.URL+"/simple", func(o *SyncOptions) {
			if c.onlyBinary != "" {
				o.File.OnlyBinary = []string{c.onlyBinary}
			}
			if c.noBinary != "" {
				o.File.NoBinary = []string{c.noBinary}
			}
		}, "leaf", "twig")
		if err != nil || got != c.want {
			t.Errorf("%+v: %s %v", c, got, err)
		}
	}
}

func TestWhatBuildsSourcesIsThereToo(t *testing.T) {
	build := func(requires string) map[string]string {
		return map[string]string{"pyproject.toml": "[build-system]\nrequires = [" + requires + "]\n"}
	}
	up := newUpstream(t, map[string][]byte{
		"leaf-1.0.tar.gz":                sdist(t, "leaf", "1.0", build(`"bark; python_version < '3'"`)),
		"twig-1.0.tar.gz":                sdist(t, "twig", "1.0", build(`"bark"`)),
		wheelName("bark", "1.0"):         wheel(t, "bark", "1.0", "moss"),
		"moss-1.0.tar.gz":                sdist(t, "moss", "1.0", build(`"moss"`)), // builds itself
		"fern-1.0.tar.gz":                sdist(t, "fern", "1.0", nil),
		"fungus-1.0.tar.gz":              sdist(t, "fungus", "1.0", build(`"absent>=1"`)),
		"lichen-1.0.tar.gz":              sdist(t, "lichen", "1.0", map[string]string{"pyproject.toml": "[build-system\n"}),
		wheelName("setuptools", "75"):    wheel(t, "setuptools", "75"),
		"setuptools-80-py2-none-any.whl": wheel(t, "setuptools", "80"),
	})
	log := ""
	tell := func(o *SyncOptions) { o.Log = func(s string) { log += s + "\n" } }
	for want, asked := range map[string][]string{
		"bark-1.0 leaf-1.0.tar.gz moss-1.0.tar.gz twig-1.0.tar.gz": {"leaf", "twig"},
		"fern-1.0.tar.gz setuptools-75":                            {"fern"},
	} {
		if got, err := sync1(t, t.TempDir(), up.URL+"/simple", tell, asked...); err != nil || got != want {
			t.Errorf("%v: %s %v", asked, got, err)
		}
	}
	if !strings.Contains(log, "no index knows wheel") {
		t.Errorf("what may be missing is not told:\n%s", log)
	}
	for asked, want := range map[string]string{
		"fungus": "what builds fungus-1.0.tar.gz: no index knows absent, which fungus-1.0.tar.gz asks for",
		"lichen": "cannot read pyproject.toml of lichen-1.0.tar.gz",
	} {
		if got, err := sync1(t, t.TempDir(), up.URL+"/simple", nil, asked); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s %v", asked, got, err)
		}
	}
}

// pip holds what it installs to the constraints, and not what builds it.
func TestConstraintsAreNotForWhatBuilds(t *testing.T) {
	up := newUpstream(t, map[string][]byte{
		"leaf-1.0.tar.gz":        sdist(t, "leaf", "1.0", map[string]string{"pyproject.toml": "[build-system]\nrequires = [\"bark>=2\"]\n"}),
		wheelName("bark", "1.0"): wheel(t, "bark", "1.0"), wheelName("bark", "2.0"): wheel(t, "bark", "2.0"),
	})
	got, err := sync1(t, t.TempDir(), up.URL+"/simple", func(o *SyncOptions) {
		o.File.Constraints = []requirement.Line{{Requirement: parse(t, "bark<2"), From: "the constraints"}}
	}, "leaf", "bark")
	if err != nil || got != "bark-1.0 bark-2.0 leaf-1.0.tar.gz" {
		t.Error(got, err)
	}
}

func parse(t *testing.T, text string) requirement.Requirement {
	t.Helper()
	r, err := requirement.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEachTargetGetsItsWheels(t *testing.T) {
	old, native := "leaf-1.0-cp311-cp311-manylinux2014_x86_64.whl", "leaf-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"
	dir := directoryOf(t, map[string][]byte{old: wheel(t, "leaf", "1.0"), native: wheel(t, "leaf", "1.0")})
	targets := func(names ...string) func(*SyncOptions) {
		return func(o *SyncOptions) {
			o.Targets = nil
			for _, n := range names {
				python, platform, _ := strings.Cut(n, " ")
				target, err := dist.NewTarget(python, platform)
				if err != nil {
					t.Fatal(err)
				}
				o.Targets = append(o.Targets, target)
			}
		}
	}
	for want, change := range map[string]func(*SyncOptions){
		old:                targets("3.11.2 manylinux_2_36_x86_64"),
		native:             targets("3.13 manylinux_2_41_aarch64"),
		old + " " + native: targets("3.11 manylinux2014_x86_64", "3.13 manylinux_2_41_aarch64"),
	} {
		if got, err := sync1(t, t.TempDir(), dir, change, "leaf"); err != nil || got != want {
			t.Errorf("%s: %s %v", want, got, err)
		}
	}
	for _, n := range []string{"3.13 manylinux_2_17_aarch64", "3.13 manylinux_2_41_x86_64", "3.11 manylinux2010_x86_64"} {
		if got, err := sync1(t, t.TempDir(), dir, targets(n), "leaf"); err == nil {
			t.Errorf("%s got %s", n, got)
		}
	}
}

func TestVersionsBeforeAReleaseAreTakenAsPipDoes(t *testing.T) {
	up := newUpstream(t, map[string][]byte{
		wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0"), wheelName("leaf", "2.0a1"): wheel(t, "leaf", "2.0a1"),
		wheelName("twig", "1.0a1"): wheel(t, "twig", "1.0a1"),
	})
	for asked, want := range map[string]string{
		"leaf": "leaf-1.0", "leaf<3": "leaf-1.0", "leaf>=1.0a0": "leaf-2.0a1", "leaf~=2.0a0": "leaf-2.0a1",
		"twig": "twig-1.0a1", "twig>=0.1a0": "twig-1.0a1", "twig==1.0a1": "twig-1.0a1",
		"leaf>1.1": "", "twig>0.5": "", "twig!=2": "",
	} {
		got, err := sync1(t, t.TempDir(), up.URL+"/simple", nil, asked)
		if got != want || want == "" && (err == nil || !strings.Contains(err.Error(), "--pre takes it")) {
			t.Errorf("%s: %q %v", asked, got, err)
		}
		allow := func(o *SyncOptions) { o.File.Prereleases = true }
		if got, err := sync1(t, t.TempDir(), up.URL+"/simple", allow, asked); err != nil || got == "leaf-1.0" && asked != "leaf<3" {
			t.Errorf("%s --pre: %q %v", asked, got, err)
		}
	}
}
