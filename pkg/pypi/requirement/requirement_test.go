package requirement

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
)

func environment(t testing.TB) Environment {
	target, err := dist.NewTarget("3.11", "manylinux_2_36_x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return TargetEnvironment(target)
}

func TestRequirementsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"Flask":                                   "flask",
		"My.Long__name [a, B_c]>=1, <2 ":          "my-long-name[a,b-c]>=1,<2",
		"leaf (>=1.0)":                            "leaf>=1.0",
		"leaf==1.*;python_version>'3'":            "leaf==1.*",
		"leaf@https://x/y.whl ; os_name=='posix'": "leaf @ https://x/y.whl",
		"leaf[]": "leaf",
	} {
		r, err := Parse(text)
		if err != nil || r.String() != want || !r.Marker.Holds(environment(t)) {
			t.Errorf("%q: %s %v", text, r, err)
		}
	}
	for _, text := range []string{"", "-x", "leaf==", "leaf 1.0", "leaf[a", "leaf[!]", "leaf (>=1", "leaf @", "leaf; ", "leaf; x == 'y'", "leaf>=1; python_version", "./leaf", "leaf; os_name == 'a' and", "leaf; (os_name == 'a'"} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%q became %s", text, r)
		}
	}
}

func TestMarkersHoldAsPEP508Says(t *testing.T) {
	env := environment(t)
	env["extra"] = "my-extra"
	for marker, want := range map[string]bool{
		"python_version >= '3.9'":  true, // 3.11 is no text
		"python_version < '3.9'":   false,
		"python_version == '3.11'": true, "python_version == '3.*'": true, "python_version ~= '3.10'": true,
		"'3.9' < python_version":                                           true,
		"python_full_version < '3.11.1'":                                   true,
		"sys_platform == 'linux'":                                          true,
		"os.name == \"posix\"":                                             true,
		"platform_machine in 'x86_64 AMD64'":                               true,
		"platform_machine not in 'arm64'":                                  true,
		"extra == 'My_Extra'":                                              true,
		"extra == 'other'":                                                 false,
		"os_name == 'nt' or os_name == 'posix' and python_version > '3'":   true,
		"(os_name == 'nt' or os_name == 'posix') and python_version < '3'": false,
		"os_name == 'posix' or os_name == 'nt' and python_version < '3'":   true,
		"platform_python_implementation != 'PyPy'":                         true,
		"implementation_name == 'cpython'":                                 true,
		"platform_version >= 'not a version'":                              false,
	} {
		m, err := ParseMarker(marker)
		if err != nil || m.Holds(env) != want {
			t.Errorf("%s: %v, %v", marker, m.Holds(env), err)
		}
	}
	if _, err := ParseMarker(strings.Repeat("(", 10_000)); err == nil {
		t.Error("brackets without end are taken")
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestARequirementsFileIsRead(t *testing.T) {
	dir := t.TempDir()
	sha := strings.Repeat("aB", 32)
	write(t, dir, "more.txt", "twig\r\n-r main.txt\n") // each is read once
	write(t, dir, "limits.txt", "leaf<3")
	near := write(t, dir, "near", "")
	main := write(t, dir, "main.txt", "\ufeff# a comment\n\n--index-url https://me@example.org/simple\n--extra-index-url=https://x\n-rmore.txt\n-c limits.txt\n"+
		"leaf==1.0 \\\n    --hash=sha256:"+sha+" \\\n    --hash sha256:"+strings.Repeat("0", 64)+"  # why\n"+
		"bark[x]>=1 ; python_version < '4'  # not#this\n--pre\n--only-binary :all:\n--no-binary :all:,:none:,My_x\n-f ./wheels\n--find-links near\n--no-index\n--trusted-host x\nlast")
	var f File
	if err := f.ReadFile(main); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range f.Lines {
		got = append(got, strings.TrimPrefix(l.From, dir+"/")+" "+l.String())
	}
	want := []string{"more.txt:1 twig", "main.txt:7 leaf==1.0", "main.txt:10 bark[x]>=1", "main.txt:18 last"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if len(f.Lines[1].Hashes) != 2 || f.Lines[1].Hashes[0] != "sha256:"+strings.ToLower(sha) {
		t.Error(f.Lines[1].Hashes)
	}
	if f.Index != "https://me@example.org/simple" || !slices.Equal(f.Extra, []string{"https://x"}) || !f.Prereleases ||
		!slices.Equal(f.FindLinks, []string{"./wheels", near}) || !f.NoIndex || !slices.Equal(f.NoBinary, []string{"my-x"}) || len(f.Constraints) != 1 || !slices.Equal(f.OnlyBinary, []string{":all:"}) {
		t.Errorf("%+v", f)
	}
}

func TestWhatCannotBeReadIsToldByFileAndLine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "inner.txt", "fine\n\nleaf===\n")
	for text, want := range map[string]string{
		"fine\nleaf==":               "main.txt:2: ",
		"-r inner.txt":               "inner.txt:3: ",
		"-r absent.txt":              "absent.txt",
		"leaf --hash=md5:00":         "main.txt:1: --hash=md5:00",
		"-e .":                       "the option -e is not known",
		"./leaf-1.0.whl":             "is a path or an address",
		"https://x/leaf-1.0.tar.gz":  "is a path or an address",
		"leaf --global-option=x":     "--global-option after a requirement",
		"--wat":                      "the option --wat is not known",
		"https://me:${X}@x/l.tar.gz": "main.txt:1: \"https://x/l.tar.gz\" is a path",
		"--index-url":                "--index-url names nothing",
		"-f":                         "-f names nothing",
	} {
		f := File{Env: func(string) string { return "secret" }}
		err := f.ReadFile(write(t, dir, "main.txt", text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestVariablesAndQuotesInFilesAreAsPipHasThem(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "more of it.txt", "twig")
	sha := strings.Repeat("0", 64)
	main := write(t, dir, "main.txt", "-i https://${TOKEN}@example.org/${UNSET}/$TOKEN/${token}\n-r 'more of it.txt'\n"+
		"--find-links=\"/${TOKEN} 1\"\nleaf==${TOKEN} --hash=\"sha256:"+sha+"\"\n# ${TOKEN}\n")
	f := File{Env: func(name string) string { return map[string]string{"TOKEN": "12", "token": "no"}[name] }}
	if err := f.ReadFile(main); err != nil {
		t.Fatal(err)
	}
	if f.Index != "https://12@example.org/${UNSET}/$TOKEN/${token}" || !slices.Equal(f.FindLinks, []string{"/12 1"}) {
		t.Errorf("%+v", f)
	}
	if len(f.Lines) != 2 || f.Lines[0].Name != "twig" || f.Lines[1].String() != "leaf==12" || !slices.Equal(f.Lines[1].Hashes, []string{"sha256:" + sha}) {
		t.Errorf("%+v", f.Lines)
	}
}

func FuzzRequirement(f *testing.F) {
	for _, s := range []string{"a[b]>=1;os_name=='x'", "a @ https://x ; extra == \"y\"", "a (==1.*)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		r.Marker.Holds(environment(t))
		if again, err := Parse(r.String()); err != nil || again.Name != r.Name {
			t.Errorf("%q became %q: %v", text, r, err)
		}
	})
}

func FuzzMarker(f *testing.F) {
	f.Add("(python_version < '3' or 'x' not in extra) and os_name ~= '1'")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseMarker(text); err == nil {
			m.Holds(environment(t))
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add("a==1 \\\n --hash=sha256:00\n-c x\n")
	f.Fuzz(func(_ *testing.T, text string) {
		r := &fileReader{file: &File{}, seen: map[string]bool{}}
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(strings.TrimSpace(line), "-") { // no files of this machine
				r.text(line, "x", false)
			}
		}
	})
}
