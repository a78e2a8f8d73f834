package elementtest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// plant makes files below a directory.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func names(cases []Case) string {
	var out []string
	for _, c := range cases {
		out = append(out, c.String())
	}
	return strings.Join(out, " ")
}

func TestTestsAreFoundAlongThePath(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"one/a/test-elements/x/README":               "",
		"one/a/test-elements/r/element-type":         "ramdisk\n",
		"one/a/test-elements/f/test-output-formats":  " tar, qcow2\n",
		"one/a/test-elements/bad/element-type":       "moon\n",
		"one/a/test-elements/no/test-output-formats": "\n",
		"one/a/test-elements/file":                   "",
		"one/b/README":                               "",
		"two/a/test-elements/hidden/README":          "",
		"two/c/test-elements/x/README":               "",
	})
	cases, err := Find([]string{filepath.Join(dir, "one"), filepath.Join(dir, "two")})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(cases); got != "a/bad a/f a/no a/r a/x c/x" {
		t.Error(got)
	}
	if cases[0].Fault == nil || cases[2].Fault == nil || !cases[3].Ramdisk || !slices.Equal(cases[1].Formats, []string{"tar", "qcow2"}) || !slices.Equal(cases[4].Formats, []string{"tar"}) {
		t.Errorf("%+v", cases)
	}
}

func TestChoosing(t *testing.T) {
	cases := []Case{{Element: "a", Name: "x"}, {Element: "a", Name: "y"}, {Element: "gentoo", Name: "build-succeeds"}}
	for _, c := range []struct{ wanted, skip, run, skipped string }{
		{"", "", "a/x a/y", "gentoo/build-succeeds"},
		{"all", "", "a/x a/y gentoo/build-succeeds", ""},
		{"gentoo", "", "gentoo/build-succeeds", ""},
		{"a/y gentoo/build-succeeds", "", "a/y gentoo/build-succeeds", ""},
		{"a", "a/x", "a/y", "a/x"},
		{"all", "a", "gentoo/build-succeeds", "a/x a/y"},
	} {
		run, skipped, err := Choose(cases, strings.Fields(c.wanted), strings.Fields(c.skip))
		if err != nil || names(run) != c.run || names(skipped) != c.skipped {
			t.Errorf("%q without %q: runs %s, skips %s, %v", c.wanted, c.skip, names(run), names(skipped), err)
		}
	}
	var unknown *UnknownError
	if _, _, err := Choose(cases, []string{"a/z"}, nil); !errors.As(err, &unknown) {
		t.Error(err)
	}
}

// tarOf gives a tar with empty files.
func tarOf(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatPasses(t *testing.T) {
	fine, lie := tarOf(t, "./etc/x"), tarOf(t, "./tmp/", "./tmp/dib-test-should-fail")
	broken := errors.New("exit status 1")
	for _, c := range []struct {
		what    string
		formats string // "ramdisk" is no format
		err     error
		left    map[string]string
		why     string
	}{
		{"built", "tar", nil, map[string]string{"image.tar": fine}, ""},
		{"nothing built", "tar", nil, nil, "left no image.tar"},
		{"only one of two built", "tar,qcow2", nil, map[string]string{"image.tar": fine}, "left no image.qcow2"},
		{"both built", "tar,qcow2", nil, map[string]string{"image.tar": fine, "image.qcow2": ""}, ""},
		{"a format that is not looked for", "raw", nil, nil, ""},
		{"failed", "tar", broken, nil, "the build failed: exit status 1"},
		{"failed, though something was made", "tar", broken, map[string]string{"image.tar": fine}, "the build failed"},
		{"failed on purpose", "tar", broken, map[string]string{sentinel: ""}, ""},
		{"had to fail", "tar", nil, map[string]string{"image.tar": fine, sentinel: ""}, "had to fail and did not"},
		{"had to fail, as the tar says", "tar", nil, map[string]string{"image.tar": lie}, "had to fail and did not"},
		{"a tar that is none", "tar", nil, map[string]string{"image.tar": strings.Repeat("x", 1024)}, "cannot read image.tar"},
		{"a ramdisk", "ramdisk", nil, map[string]string{"image.initramfs": ""}, ""},
		{"no ramdisk", "ramdisk", nil, nil, "left no image.initramfs"},
		{"a ramdisk does not fail on purpose", "ramdisk", broken, map[string]string{sentinel: ""}, "the build failed"},
	} {
		dir := t.TempDir()
		test := Case{Element: "e", Name: "t", Dir: "/nowhere/e/test-elements/t", Formats: strings.Split(c.formats, ","), Ramdisk: c.formats == "ramdisk"}
		results := Run(context.Background(), []Case{test}, Options{LogDir: dir, Dir: dir, Now: time.Now, Build: func(_ context.Context, b Build) error {
			for name, text := range c.left {
				if err := os.WriteFile(filepath.Join(filepath.Dir(b.Args[1]), name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			fmt.Fprintln(b.Log, "what the build says")
			return c.err
		}}, func(Result) {})
		r := results[0]
		if c.why == "" != (r.Verdict == Passed) || !strings.Contains(r.Why, c.why) {
			t.Errorf("%s: %s, %q", c.what, r.Verdict, r.Why)
		}
		want := map[Verdict]string{Passed: "e_t.PASS.log", Failed: "e_t.FAIL.log"}[r.Verdict]
		if text, err := os.ReadFile(filepath.Join(dir, want)); err != nil || string(text) != "what the build says\n" {
			t.Errorf("%s: the log holds %q, %v", c.what, text, err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "test-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: outputs stayed: %q, %v", c.what, left, err)
		}
	}
}

func TestABuildGetsWhatTheDriverGives(t *testing.T) {
	dir := t.TempDir()
	o := Options{Jobs: 2, Dir: dir, LogDir: dir, Keep: true, Now: time.Now, Path: []string{"/own", "/builtin"}}
	var got []string
	o.Build = func(_ context.Context, b Build) error {
		place := filepath.Dir(b.Args[1])
		got = append(got, strings.ReplaceAll(strings.Join(slices.Concat(b.Env, b.Args), "|"), place, "DIR"))
		return nil
	}
	disk := Case{Element: "e", Name: "t", Dir: "/own/e/test-elements/t", Formats: []string{"tar", "raw"}}
	ramdisk := Case{Element: "e", Name: "r", Dir: "/own/e/test-elements/r", Ramdisk: true}
	for _, c := range []Case{disk, ramdisk} {
		if r := Run(context.Background(), []Case{c}, o, func(Result) {}); r[0].Output == "" {
			t.Error("the output was not kept")
		}
	}
	want := []string{
		"ELEMENTS_PATH=/own/e/test-elements:/own:/builtin|DIB_QUIET=0|DIB_SHOW_IMAGE_USAGE=1|break=after-error,before-cleanup|break_outside_target=1|break_cmd=bash DIR/keep-sentinel DIR|-o|DIR/image|--no-tmpfs|-t|tar,raw|-x|-n|e|t",
		"ELEMENTS_PATH=/own/e/test-elements:/own:/builtin|DIB_QUIET=0|-o|DIR/image|--no-tmpfs|-x|e|r",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheSentinelIsKeptAndNothingElseHappens(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"keep": keepSentinel, "mnt/tmp/x": "", "to/x": ""})
	run := func() {
		cmd := exec.Command("bash", filepath.Join(dir, "keep"), filepath.Join(dir, "to"))
		cmd.Env = append(os.Environ(), "TMP_MOUNT_PATH="+filepath.Join(dir, "mnt"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run()
	if found, err := exists(filepath.Join(dir, "to", sentinel)); err != nil || found {
		t.Error("a sentinel comes from nowhere", err)
	}
	plant(t, dir, map[string]string{"mnt/tmp/" + sentinel: ""})
	run()
	if found, err := exists(filepath.Join(dir, "to", sentinel)); err != nil || !found {
		t.Error("the sentinel is not kept", err)
	}
}

func TestSoManyBuildsRunAtATimeAndAllEnd(t *testing.T) {
	var cases []Case
	for i := range 20 {
		cases = append(cases, Case{Element: "e", Name: fmt.Sprint(i), Dir: "/e/test-elements/x", Formats: []string{"raw"}})
	}
	var now, most atomic.Int32
	dir := t.TempDir()
	o := Options{Jobs: 3, Dir: dir, LogDir: dir, Now: time.Now, Build: func(context.Context, Build) error {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		return nil
	}}
	told := 0
	for i, r := range Run(context.Background(), cases, o, func(Result) { told++ }) {
		if r.Verdict != Passed || r.Case.Name != fmt.Sprint(i) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if most.Load() != 3 || told != 20 {
		t.Errorf("%d at a time, %d told", most.Load(), told)
	}
}

func TestWhatDoesNotEndIsEnded(t *testing.T) {
	dir := t.TempDir()
	until := func(ctx context.Context, _ Build) error { <-ctx.Done(); return ctx.Err() }
	cases := []Case{{Element: "e", Name: "1", Dir: "/e/t/1", Formats: []string{"raw"}}, {Element: "e", Name: "2", Dir: "/e/t/2", Formats: []string{"raw"}}}
	o := Options{Dir: dir, LogDir: dir, Now: time.Now, Build: until, Timeout: 10 * time.Millisecond, FailFast: true}
	r := Run(context.Background(), cases, o, func(Result) {})
	if r[0].Verdict != Failed || !strings.Contains(r[0].Why, "10ms") || r[1].Verdict != NotRun {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	o.Timeout = 0
	for _, r := range Run(ctx, cases, o, func(Result) {}) {
		if r.Verdict != NotRun || r.Why != "interrupted" {
			t.Errorf("%+v", r)
		}
	}
}

// odd are results whose words could break the formats.
func odd() []Result {
	return []Result{
		{Case: Case{Element: "a", Name: "good"}, Verdict: Passed, Took: 1500 * time.Millisecond, Log: "a.log"},
		{Case: Case{Element: "a", Name: "# SKIP <&"}, Verdict: Failed, Why: "no\nok 3 - \x1b[31m", Tail: []string{"ok 9", "<\x00>\xff"}},
		{Case: Case{Element: "a", Name: "left"}, Verdict: Skipped, Why: "not asked for"},
	}
}

func TestProveReadsTheTAP(t *testing.T) {
	var b bytes.Buffer
	tap := NewTAP(&b, 3)
	for _, r := range odd() {
		tap.Result(r)
	}
	want := "TAP version 13\n1..3\nok 1 - a/good\n# took 1.5s\nnot ok 2 - a/\\# SKIP <&\n# no ok 3 - [31m\n#   ok 9\n#   <>\uFFFD\n# took 0s\nok 3 - a/left # SKIP not asked for\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if _, err := exec.LookPath("prove"); err != nil {
		t.Skip("prove is not installed")
	}
	file := filepath.Join(t.TempDir(), "x.tap")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("prove", "-v", "--exec", "cat", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Failed 1/3 subtests") || !strings.Contains(string(out), "less 1 skipped subtest") {
		t.Errorf("prove: %v\n%s", err, out)
	}
}

func TestJUnitIsXMLThatCountsRight(t *testing.T) {
	text, err := JUnit(odd())
	if err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	s := back.Suites[0]
	if s.Tests != 3 || s.Failures != 1 || s.Skipped != 1 || s.Time != "1.500" || s.Cases[1].Failure == nil || s.Cases[2].Skipped == nil || s.Cases[0].Out != "log: a.log" {
		t.Errorf("%s", text)
	}
}

func TestUpstreamsTestsAreFound(t *testing.T) {
	dir := os.Getenv("DIBBER_UPSTREAM")
	if dir == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	elements := filepath.Join(dir, "diskimage_builder/elements")
	cases, err := Find([]string{elements})
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	entries, err := filepath.Glob(elements + "/*/test-elements/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		there = append(there, filepath.Base(filepath.Dir(filepath.Dir(e)))+"/"+filepath.Base(e))
	}
	if names(cases) != strings.Join(there, " ") || len(cases) < 40 {
		t.Errorf("found %s, there are %q", names(cases), there)
	}
	driver, err := os.ReadFile(filepath.Join(dir, "tests/run_functests.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Fault != nil {
			t.Errorf("%s: %v", c, c.Fault)
		}
		skips := strings.Contains(string(driver), "\n    "+c.String()+"\n")
		if skips != slices.Contains(Unusual(), c.String()) {
			t.Errorf("%s: diskimage-builder skips it: %v", c, skips)
		}
	}
}
