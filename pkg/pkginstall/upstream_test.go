package pkginstall_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/pkginstall"
)

// question is a list of elements, each with its directory, and an environment.
type question struct {
	Elements [][2]string       `json:"elements"`
	Environ  map[string]string `json:"environ"`
}

// answer is what testdata/upstream.py says of it.
type answer struct {
	Lists map[string]map[string][][2]string
	Error []string // name and words of the exception
}

func ask(t *testing.T, checkout, python string, questions []question) []answer {
	t.Helper()
	var answers []answer
	judge.Ask(t, python, 0, questions, &answers, "testdata/upstream.py", checkout)
	return answers
}

// compare holds our lists against those of diskimage-builder, and tells whether
// both made some.
func compare(t *testing.T, what string, q question, a answer) bool {
	t.Helper()
	var list []pkginstall.Source
	for _, e := range q.Elements {
		list = append(list, pkginstall.Source{Name: e[0], Dir: e[1]})
	}
	l, err := pkginstall.Squash(list, func(name string) (string, bool) { value, ok := q.Environ[name]; return value, ok })
	if (err != nil) != (a.Error != nil) {
		t.Errorf("%s with %v:\n  here     %v\n  upstream %v", what, q.Environ, err, a.Error)
		return false
	}
	if err != nil {
		return false
	}
	data, err := l.JSON()
	must(t, err)
	ours := map[string]map[string][][2]string{}
	must(t, json.Unmarshal(data, &ours))
	for phase, operations := range a.Lists { // an operation that nothing was left of is as good as none
		maps.DeleteFunc(operations, func(_ string, packages [][2]string) bool { return len(packages) == 0 })
		if len(operations) == 0 {
			delete(a.Lists, phase)
		}
	}
	if len(ours) != len(a.Lists) || len(ours) > 0 && !reflect.DeepEqual(ours, a.Lists) {
		t.Errorf("%s with %v:\n  here     %v\n  upstream %v", what, q.Environ, ours, a.Lists)
	}
	return true
}

func TestFilesOfItsElementsComeToWhatDiskimageBuildersOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "yaml")
	dirs, err := filepath.Glob(filepath.Join(checkout, "diskimage_builder/elements/*"))
	must(t, err)
	var all [][2]string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			all = append(all, [2]string{filepath.Base(dir), dir})
		}
	}
	// Every variable that a "when" of them asks for.
	full := map[string]string{"DIB_RELEASE": "bookworm", "DISTRO_NAME": "debian", "DIB_PYTHON_VERSION": "3", "DIB_INIT_SYSTEM": "systemd"}
	for _, dir := range dirs {
		data, _ := os.ReadFile(filepath.Join(dir, "package-installs.yaml")) // many have none
		for _, word := range strings.FieldsFunc(string(data), func(c rune) bool { return c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') }) {
			if _, ok := full[word]; !ok && strings.Contains(word, "_") {
				full[word] = "1"
			}
		}
	}
	var questions []question
	for _, arch := range []string{"amd64", "arm64", "ppc64le", "x86_64"} {
		for _, more := range []map[string]string{nil, full, {"DIB_DEFAULT_INSTALLTYPE": "package"}, {"DIB_PYTHON_VERSION": "2", "DIB_RELEASE": "xenial", "DISTRO_NAME": "ubuntu"}} {
			environ := map[string]string{"ARCH": arch}
			maps.Copy(environ, more)
			questions = append(questions, question{all, environ}, question{slices.Collect(backward(all)), environ})
			for _, e := range all {
				questions = append(questions, question{[][2]string{e}, environ})
			}
		}
	}
	made := 0
	for i, a := range ask(t, checkout, python, questions) {
		if compare(t, fmt.Sprint(questions[i].Elements[0], " and ", len(questions[i].Elements)-1, " more"), questions[i], a) && len(a.Lists) > 0 {
			made++
		}
	}
	if len(all) < 120 || made < 400 {
		t.Errorf("%d elements and %d lists are too few", len(all), made)
	}
}

func backward(all [][2]string) func(func([2]string) bool) {
	return func(yield func([2]string) bool) {
		for _, e := range slices.Backward(all) {
			if !yield(e) {
				return
			}
		}
	}
}

func TestFilesMadeUpComeToWhatDiskimageBuildersOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "yaml")
	random := rand.New(rand.NewPCG(9, 10))
	dir := t.TempDir()
	var questions []question
	for i := range 600 {
		q := question{Environ: map[string]string{"ARCH": "amd64", "A": "1", "B": "x y"}}
		if random.IntN(2) == 0 {
			q.Environ["DIB_PYTHON_VERSION"] = "3"
		}
		if random.IntN(3) == 0 {
			q.Environ["DIB_INSTALLTYPE_el_1"] = "package"
		}
		for j := range 1 + random.IntN(4) {
			e := [2]string{fmt.Sprintf("el-%d", j), filepath.Join(dir, fmt.Sprintf("%d/%d", i, j))}
			must(t, os.MkdirAll(e[1], 0o755))
			must(t, os.WriteFile(filepath.Join(e[1], "package-installs.yaml"), []byte(madeUp(random)), 0o644))
			q.Elements = append(q.Elements, e)
		}
		questions = append(questions, q)
	}
	made := 0
	for i, a := range ask(t, checkout, python, questions) {
		var text strings.Builder
		for _, e := range questions[i].Elements {
			data, err := os.ReadFile(filepath.Join(e[1], "package-installs.yaml"))
			must(t, err)
			text.WriteString(e[0] + ":\n" + string(data))
		}
		if compare(t, text.String(), questions[i], a) {
			made++
		}
	}
	if made < 200 {
		t.Errorf("only %d files hold", made)
	}
}

// madeUp makes a file of some packages, of few names so that they meet.
func madeUp(r *rand.Rand) string {
	one := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	params := func() string {
		var keys []string
		for _, key := range []string{"phase: " + one("install.d", "pre-install.d"), one("uninstall: True", "uninstall: no", "build-only: 1", "build-only:"),
			"installtype: " + one("source", "package", ""), one("arch: amd64", "arch: 'arm64,amd64'", "not-arch: amd64", "not-arch: arm64", "arch:"),
			"dib_python_version: " + one("3", "2", "'3'", "3.0", "''", "yes"),
			"when: " + one("A = 1", "A=1", "A != 1", "B = x y", "[A = 1, B != z]", "[]", "'A=1 '", one("A = 1", "A = 1", "A", "C = 1")), "other: 1"} {
			if r.IntN(4) == 0 {
				keys = append(keys, key)
			}
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	var b strings.Builder
	for _, name := range []string{"p", "q", "two words", "r"} {
		switch r.IntN(6) {
		case 0:
		case 1:
			fmt.Fprintf(&b, "%s:%s\n", name, one("", " ''", " []", " no", " {}"))
		case 2:
			fmt.Fprintf(&b, "%s:\n- %s\n- %s\n", name, params(), params())
		default:
			fmt.Fprintf(&b, "%s: %s\n", name, params())
		}
	}
	if b.Len() == 0 {
		return "p:\n"
	}
	return b.String()
}
