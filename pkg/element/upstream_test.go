package element_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/judge"
)

// answer is what testdata/upstream.py says of a list of names.
type answer struct {
	Elements map[string]string // name: path
	Error    []string          // name and words of the exception
}

// ask asks diskimage-builder's own code. Its results depend on the order of a set
// in rare cases, so each list is asked for in several.
func ask(t *testing.T, checkout, python, path string, lists [][]string) [][]answer {
	t.Helper()
	all := make([][]answer, len(lists))
	for seed := range 4 {
		var answers []answer
		judge.Ask(t, python, seed, lists, &answers, "testdata/upstream.py", checkout, path)
		for i, a := range answers {
			all[i] = append(all[i], a)
		}
	}
	return all
}

func TestListsOfElementsComeToWhatDiskimageBuildersOwnCodeMakesOfThem(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "yaml")
	path := filepath.Join(checkout, "diskimage_builder/elements")
	entries, err := os.ReadDir(path)
	must(t, err)
	var names []string
	var lists [][]string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
			lists = append(lists, []string{e.Name()}, []string{e.Name(), "debian-minimal"}, []string{"base", "vm", "block-device-mbr", "debian-minimal", e.Name()},
				[]string{"vm", "block-device-efi", "fedora-container", e.Name()}, []string{"ramdisk", "ubuntu-minimal", e.Name()}, []string{e.Name(), e.Name()})
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 1500 {
		list := []string{"base"}
		for range 1 + random.IntN(6) {
			list = append(list, names[random.IntN(len(names))])
		}
		lists = append(lists, list)
	}
	planted, err := element.Resolve([]string{path}, []string{"fedora-container"})
	if agrees(planted, err, []answer{{Elements: map[string]string{"fedora-container": path}}, {Error: []string{"MissingOSException", ""}}}) {
		t.Error("a planted difference is not seen")
	}
	sets := 0
	for i, answers := range ask(t, checkout, python, path, lists) {
		set, err := element.Resolve([]string{path}, lists[i])
		if !agrees(set, err, answers) {
			t.Errorf("%v\n  here     %v %v\n  upstream %v", lists[i], set, err, answers[0])
		}
		if err == nil {
			sets++
		}
	}
	if len(names) < 120 || sets < 200 {
		t.Errorf("%d elements and %d sets of them are too few", len(names), sets)
	}
}

// agrees tells whether one of the answers is ours, errors by their kind.
func agrees(set *element.Set, err error, answers []answer) bool {
	var kind string
	switch {
	case errors.As(err, new(*element.NotFoundError)):
		kind = "MissingElementException"
	case errors.As(err, new(*element.ProvidedError)):
		kind = "AlreadyProvidedException"
	case errors.As(err, new(*element.MissingOSError)):
		kind = "MissingOSException"
	}
	for _, a := range answers {
		switch {
		case err != nil && len(a.Error) == 2:
			if a.Error[0] == kind && strings.Contains(err.Error(), a.Error[1]) {
				return true
			}
		case err == nil && a.Error == nil:
			ours := map[string]string{}
			for _, e := range set.Elements {
				ours[e.Name] = e.Dir
			}
			if maps.Equal(ours, a.Elements) {
				return true
			}
		}
	}
	return false
}
