package pkginstall_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/pkginstall"
)

// The cases are those of diskimage-builder's own test of package-installs-squash,
// one for one. Elements are called one and two; what is asked for is of install.d.
func TestListsOfDiskimageBuildersTestsAreTheSame(t *testing.T) {
	const kernels = `
generic:
- {not-arch: arm64, when: KERNEL = generic}
- {arch: arm64, when: [RELEASE != xenial, KERNEL = generic]}
generic-16.04: {arch: arm64, when: [RELEASE = xenial, KERNEL = generic]}
`
	for what, c := range map[string]struct {
		one, two, environ string
		want              string // of "one PACKAGE", "-one PACKAGE" for one that is removed
	}{
		"a package":                     {"p: ''", "", "", "one p"},
		"architectures":                 {"p: ''\nonly: {arch: arm64}\nnever: {not-arch: arm64}", "", "ARCH=arm64", "one p, one only"},
		"kernel of x86":                 {kernels, "", "ARCH=x86_64 KERNEL=generic RELEASE=focal", "one generic"},
		"kernel of an old arm64":        {kernels, "", "ARCH=arm64 KERNEL=generic RELEASE=xenial", "one generic-16.04"},
		"kernel of a newer arm64":       {kernels, "", "ARCH=arm64 KERNEL=generic RELEASE=focal", "one generic"},
		"a condition":                   {"no: {when: F=0}\nyes: {when: F=1}\nunlike: {when: F!=0}\nlike: {when: F!=1}", "", "F=1", "one yes, one unlike"},
		"a condition on nothing":        {"p: {when: MISSING=1}", "", "", "error: the variable MISSING is not set"},
		"several conditions":            {"p: {when: [A=1, B=1, C=1]}\nq: {when: [A=1, B=0, C=1]}", "", "A=1 B=1 C=1", "one p"},
		"installed, then only to build": {"p: ''", "p: {build-only: 'true'}", "", "one p, two p"},
		"only to build, then installed": {"p: {build-only: 'true'}", "p: ''", "", "one p, two p"},
		"only to build":                 {"p: {build-only: 'true'}", "", "", "one p, -one p"}, // the first half of the last case
	} {
		files := []string{"one.yaml", c.one}
		if c.two != "" {
			files = append(files, "two.yaml", c.two)
		}
		l, err := pkginstall.Squash(sources(t, files...), env(strings.Fields(c.environ)...))
		if err != nil {
			if words, ok := strings.CutPrefix(c.want, "error: "); !ok || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		var got []string
		for _, line := range lines(l) {
			line = strings.TrimPrefix(strings.TrimPrefix(line, "install.d "), "install ")
			got = append(got, strings.Replace(line, "uninstall ", "-", 1))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %s, want %s", what, s, c.want)
		}
	}
}
