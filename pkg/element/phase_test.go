package element

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHooksOfOneElementKeepNumberOrder(t *testing.T) {
	dir := t.TempDir()
	phase := filepath.Join(dir, "install.d")
	modes := map[string]os.FileMode{
		"100-x": 0o755, "99-x": 0o755, "00-01-foo": 0o755, "zero": 0o755, "Zero": 0o755, "1-a": 0o755,
		"01-b": 0o700, "_x": 0o711, "2-only-group": 0o610, "10-foo.sh": 0o755, "10-foo~": 0o755,
		"10-foo.bak": 0o755, "10-data": 0o644, "20 space": 0o755, "-5-minus": 0o755, "10-line\nbreak": 0o755,
		"99999999999999999999999-far": 0o755, "100000000000000000000000-farther": 0o755, "é": 0o755,
	}
	if err := os.Mkdir(phase, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range modes {
		if err := os.WriteFile(filepath.Join(phase, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"50-link": "1-a", "51-lost": "gone", "52-dir": ".", "53-data": "10-data"} {
		if err := os.Symlink(target, filepath.Join(phase, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(phase, "60-dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := Hooks(dir, "install")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"-5-minus", "00-01-foo", "Zero", "_x", "zero", "01-b", "1-a", "2-only-group", "50-link",
		"99-x", "100-x", "99999999999999999999999-far", "100000000000000000000000-farther"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestAPhaseWithoutDirectoryHasNoHooks(t *testing.T) {
	got, err := Hooks(t.TempDir(), "install")
	if len(got) != 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPhasesRunInsideAsInAChroot(t *testing.T) {
	var got []string
	for _, p := range Phases() {
		if p.Inside {
			p.Name += "!"
		}
		got = append(got, p.Name)
	}
	want := "root extra-data pre-install! install! post-install! post-root pre-finalise finalise! cleanup"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestCompareNumericAgreesWithSort(t *testing.T) {
	if _, err := exec.LookPath("sort"); err != nil {
		t.Skip("sort is not installed")
	}
	names := []string{"0", "00", "-0", "-", "--1", "-1", "-01", "-10-a", "-9-a", "1", "01", "1-", "10", "9", "a", "A", "_", "a1",
		"09-z", "9-a", "18446744073709551616", "18446744073709551615", "-18446744073709551616", "007", "7-0", "1_000", "1-000"}
	cmd := exec.Command("sort", "-n")
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(out))
	slices.SortFunc(names, compareNumeric)
	if !slices.Equal(names, want) {
		t.Errorf("\n got %q\nwant %q", names, want)
	}
}

func FuzzCompareNumericIsAnOrder(f *testing.F) {
	f.Add("1-a", "01-a", "10")
	f.Add("-1", "-", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if compareNumeric(a, a) != 0 || cmp.Compare(compareNumeric(a, b), 0) != -cmp.Compare(compareNumeric(b, a), 0) {
			t.Errorf("%q and %q", a, b)
		}
		if compareNumeric(a, b) < 0 && compareNumeric(b, c) < 0 && compareNumeric(a, c) >= 0 {
			t.Errorf("%q, %q and %q", a, b, c)
		}
	})
}

func TestFirstParagraphSkipsTitlesAndMarkup(t *testing.T) {
	cases := []struct{ readme, want string }{
		{"", ""},
		{"====\nbase\n====\nThis is the base element.\n\nMore.\n", "This is the base element."},
		{"Title\n-----\n\nText over\ntwo lines.\n", "Text over two lines."},
		{".. note::\n   not this\n\nBut this.\n", "But this."},
		{"# Title\n\n<!-- comment -->\nText\n", "Text"},
		{"Title\n===\n", ""},
		{"=====\n=====\n", ""},
		{"Just text", "Just text"},
		{"Text\nUnderlined later\n-----\n", "Text Underlined later"},
		{"bad \xff byte\n", "bad \uFFFD byte"},
	}
	for _, c := range cases {
		if got := firstParagraph(c.readme); got != c.want {
			t.Errorf("%q: got %q, want %q", c.readme, got, c.want)
		}
	}
}

func FuzzFirstParagraphIsOneCleanLine(f *testing.F) {
	f.Add("====\nbase\n====\nThis is.\n")
	f.Add(".. x::\n\ty\n\x1b[2J")
	f.Fuzz(func(t *testing.T, readme string) {
		if got := firstParagraph(readme); strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Errorf("got %q", got)
		}
	})
}
