package pkgmap_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	checkout := os.Getenv("DIBBER_UPSTREAM")
	if checkout == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder to compare with")
	}
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
	answers := ask(t, checkout, lists)
	for i, a := range answers {
		out, errs, status := run(t, lists[i]...)
		if float64(status) != a[1].(float64) || out != a[0].(string) {
			t.Errorf("%v\n  here     %d %q\n  upstream %v %q\n%s", lists[i], status, out, a[1], a[0], errs)
		}
	}
}

func ask(t *testing.T, checkout string, lists [][]string) [][2]any {
	t.Helper()
	in, err := json.Marshal(lists)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", asker, checkout)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Skip("python3 cannot run diskimage-builder's pkg-map:", err)
	}
	var answers [][2]any
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(lists) {
		t.Fatalf("%d answers to %d questions: %v", len(answers), len(lists), err)
	}
	return answers
}
