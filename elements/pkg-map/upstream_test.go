package pkgmap_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
)

// asker runs diskimage-builder's own pkg-map on each of the lists of arguments on
// stdin and prints what it printed and its exit status.
const asker = `
import contextlib, importlib.machinery, importlib.util, io, json, logging, os, sys
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("pkg_map", os.path.join(sys.argv[1], "diskimage_builder/elements/pkg-map/bin/pkg-map"))
program = importlib.util.module_from_spec(importlib.util.spec_from_loader("pkg_map", loader))
loader.exec_module(program)
logging.disable(logging.CRITICAL)
answers = []
for args in json.load(sys.stdin):
    out, sys.argv, status = io.StringIO(), ["pkg-map"] + args, 0
    try:
        with contextlib.redirect_stdout(out): program.main()
    except SystemExit as e: status = e.code or 0
    except Exception: status = 1
    answers.append([out.getvalue(), status])
json.dump(answers, sys.stdout)
`

func TestMapsOfItsElementsAreReadAsByDiskimageBuildersOwnPkgMap(t *testing.T) {
	checkout, python := judge.Checkout(t), judge.Python(t, "yaml")
	maps, err := filepath.Glob(filepath.Join(checkout, "diskimage_builder/elements/*/pkg-map"))
	if err != nil || len(maps) < 20 {
		t.Fatalf("only %d maps were found: %v", len(maps), err)
	}
	var lists [][]string
	for _, file := range maps {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the element pkg-map's own directory
		}
		// Whatever stands in quotes may be a name; most are not, which is asked too.
		names := slices.Compact(slices.Sorted(slices.Values(strings.FieldsFunc(string(data), func(c rune) bool { return strings.ContainsRune("\"{}:,[] \n\t", c) }))))
		for _, of := range []string{"debian bookworm", "ubuntu xenial", "fedora 34", "centos 8-stream", "rhel 7", "opensuse 15.3", "gentoo x", "alpine "} {
			distro, release, _ := strings.Cut(of, " ")
			args := []string{"--pkg-map", file, "--distro", distro, "--release", release, "--prefix", "-"}
			lists = append(lists, slices.Concat(args, []string{"--missing-ok"}, names), slices.Concat(args, names))
		}
	}
	var answers [][2]any
	judge.Ask(t, python, 0, lists, &answers, "-c", asker, checkout)
	if len(answers) != len(lists) {
		t.Fatalf("%d answers to %d questions", len(answers), len(lists))
	}
	for i, a := range answers {
		out, errs, status := run(t, lists[i]...)
		if float64(status) != a[1].(float64) || out != a[0].(string) {
			t.Errorf("%v\n  here     %d %q\n  upstream %v %q\n%s", lists[i], status, out, a[1], a[0], errs)
		}
	}
}
