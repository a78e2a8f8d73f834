package dist

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNamesOfFilesAreRead(t *testing.T) {
	for file, want := range map[string][3]string{
		"Flask-1.0-py2.py3-none-any.whl":              {"", "flask", "1.0"},
		"my_pkg-1.0_1-2b-cp311-abi3-linux_x86_64.whl": {"", "my-pkg", "1.0.post1"},
		"my-old-name-1.0-rc1.tar.gz":                  {"my.old_name", "my-old-name", "1.0rc1"},
		"name-with-2-1.0.zip":                         {"name-with-2", "name-with-2", "1.0"},
		"leaf-1.0+local.tar.bz2":                      {"leaf", "leaf", "1.0+local"},
	} {
		n, err := ParseName(file, want[0])
		if err != nil || n.Project != want[1] || n.Version.String() != want[2] {
			t.Errorf("%s: %+v %v", file, n, err)
		}
	}
	for _, file := range []string{
		"leaf.whl", "leaf-1.0.whl", "leaf-x-py3-none-any.whl", "leaf-1.0-x-py3-none-any.whl", "leaf.tar.gz", "leaf-.tar.gz", "leaf-1.0.exe",
		"../leaf-1.0.tar.gz", "leaf-1.0.tar.gz\x00", ".leaf-1.0.tar.gz", "le af-1.0.tar.gz", "index.html", "leaf-1.0-" + strings.Repeat("a.", 50) + "-" + strings.Repeat("b.", 40) + "-any.whl",
	} {
		if n, err := ParseName(file, ""); err == nil {
			t.Errorf("%q became %+v", file, n)
		}
	}
	if _, err := ParseName("leaf-1.0-py3-none-any.whl", "twig"); err == nil {
		t.Error("a file of another project is taken")
	}
}

func TestWheelsFitAsPipFindsThem(t *testing.T) {
	target, err := NewTarget("3.11", "manylinux_2_36_x86_64")
	if err != nil {
		t.Fatal(err)
	}
	best := []string{ // best first
		"leaf-1-cp311-cp311-manylinux_2_36_x86_64.whl", "leaf-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "leaf-1-cp311-cp311-manylinux2010_x86_64.whl",
		"leaf-1-cp311-cp311-linux_x86_64.whl", "leaf-1-cp311-abi3-manylinux1_x86_64.whl", "leaf-1-cp38-abi3-manylinux_2_28_x86_64.whl", "leaf-1-py3-none-manylinux_2_28_x86_64.whl",
		"leaf-1-cp311-none-any.whl", "leaf-1-py311-none-any.whl", "leaf-1-2-py2.py3-none-any.whl", "leaf-1-1-py3-none-any.whl", "leaf-1-py3-none-any.whl", "leaf-1-py310-none-any.whl", "leaf-1.tar.gz", "leaf-1.zip",
	}
	var names []Name
	for _, file := range best {
		n, err := ParseName(file, "leaf")
		if err != nil || n.Wheel && target.Fits(n) < 0 {
			t.Fatalf("%s: %v", file, err)
		}
		names = append(names, n)
	}
	if !slices.IsSortedFunc(names, target.Prefer) {
		slices.SortStableFunc(names, target.Prefer)
		t.Errorf("%v", names)
	}
	for _, file := range []string{
		"leaf-1-cp312-cp312-manylinux_2_36_x86_64.whl", "leaf-1-cp312-abi3-manylinux_2_17_x86_64.whl", "leaf-1-cp311-cp311-manylinux_2_37_x86_64.whl", "leaf-1-py2-none-any.whl",
		"leaf-1-cp311-cp311-manylinux_2_17_aarch64.whl", "leaf-1-cp311-cp311-musllinux_1_1_x86_64.whl", "leaf-1-cp311-cp311-win_amd64.whl", "leaf-1-py312-none-any.whl", "leaf-1-cp311-cp311d-linux_x86_64.whl",
	} {
		if n, err := ParseName(file, "leaf"); err != nil || target.Fits(n) >= 0 {
			t.Errorf("%s fits: %v", file, err)
		}
	}
}

func TestTargetsAreNamedAsPipDoes(t *testing.T) {
	n, err := ParseName("leaf-1-cp311-cp311-manylinux2010_x86_64.whl", "leaf")
	if err != nil {
		t.Fatal(err)
	}
	for python, full := range map[string]string{"3.11": "3.11.0", "3.11.2": "3.11.2"} {
		target, err := NewTarget(python, "manylinux2014_x86_64")
		if err != nil || target.Python != "3.11" || target.Full != full || target.Fits(n) < 0 {
			t.Errorf("%s: %+v %v", python, target, err)
		}
	}
	for _, c := range [][2]string{{"2.7", "linux_x86_64"}, {"3", "linux_x86_64"}, {"3.11.", "linux_x86_64"}, {"311", "any"}, {"3.11", ""}, {"3.11", "linux-x86"}, {"3.11", "../x"}} {
		if target, err := NewTarget(c[0], c[1]); err == nil {
			t.Errorf("%v became %+v", c, target)
		}
	}
}

const text = "Metadata-Version: 2.1\r\nName: Leaf\r\nVersion: 1.0\r\nRequires-Dist: twig (>=1);\r\n extra == 'x'\r\nRequires-Dist: bark\r\nSummary: Requires-Dist: not this\r\nRequires-Python: >=3\r\n\r\nRequires-Dist: nor this\r\n"

func TestMetadataIsRead(t *testing.T) {
	m, err := ParseMetadata([]byte(text))
	if err != nil || m.Name != "Leaf" || !slices.Equal(m.RequiresDist, []string{"twig (>=1); extra == 'x'", "bark"}) || m.RequiresPython != ">=3" {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := ParseMetadata([]byte("Name: ../x\nVersion: 1")); err == nil {
		t.Error("a name that is none is taken")
	}
	settled, err := ParseMetadata([]byte("Metadata-Version: 2.2\nName: a\nVersion: 1\n"))
	if err != nil || !settled.Settled() || m.Settled() {
		t.Error("what a build may change is not told")
	}
}

func zipped(t testing.TB, members ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.Create(members[i])
		if err == nil {
			_, err = w.Write([]byte(members[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func leaf(t testing.TB) Name {
	n, err := ParseName("leaf-1.0-py3-none-any.whl", "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheMetadataOfAWheelIsItsOwn(t *testing.T) {
	read := func(members ...string) ([]byte, error) {
		b := zipped(t, members...)
		return WheelMetadata(bytes.NewReader(b), int64(len(b)), leaf(t))
	}
	if got, err := read("vendored/twig-1.0.dist-info/METADATA", "x", "leaf-1.0.dist-info/METADATA", text); err != nil || string(got) != text {
		t.Errorf("%s %v", got, err)
	}
	if _, err := read("twig-1.0.dist-info/METADATA", text); !errors.Is(err, ErrNoMetadata) {
		t.Error(err)
	}
	if _, err := read("leaf-1.0.dist-info/METADATA", text, "Leaf-1.0.dist-info/METADATA", text); err == nil {
		t.Error("one of two is taken")
	}
	if _, err := read("leaf-1.0.dist-info/METADATA", strings.Repeat("a", MaxMetadata+1)); err == nil {
		t.Error("a bomb is taken")
	}
}

func tarred(t testing.TB, members ...string) []byte {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	for i := 0; i < len(members); i += 2 {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: members[i], Size: int64(len(members[i+1])), Mode: 0o644})); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(members[i+1]))
	}
	if err := errors.Join(w.Close(), g.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSourcesSayWhatTheyNeed(t *testing.T) {
	info := "Metadata-Version: 1.2\nName: leaf\nVersion: 1.0\n"
	members := []string{
		"leaf-1.0/PKG-INFO", info, "leaf-1.0/pyproject.toml", "[build-system]", "leaf-1.0/tests/pyproject.toml", "no",
		"leaf-1.0/src/leaf.egg-info/requires.txt", "twig>=1\n\n[fast]\nquick\n\n[:python_version < '3']\nold\n\n[x:os_name == 'nt']\nwin\n",
	}
	for file, b := range map[string][]byte{"leaf-1.0.tar.gz": tarred(t, members...), "leaf-1.0.zip": zipped(t, members...)} {
		n, err := ParseName(file, "leaf")
		if err != nil {
			t.Fatal(err)
		}
		s, err := ReadSource(bytes.NewReader(b), int64(len(b)), n)
		if err != nil || string(s.PyProject) != "[build-system]" {
			t.Fatalf("%+v %v", s, err)
		}
		m, err := s.Metadata(n)
		want := []string{"twig>=1", `quick ; extra == "fast"`, "old ; (python_version < '3')", `win ; (os_name == 'nt') and extra == "x"`}
		if err != nil || !slices.Equal(m.RequiresDist, want) {
			t.Errorf("%q %v", m, err)
		}
	}
}

func TestWheelsOfThisMachineAreRead(t *testing.T) {
	files, _ := filepath.Glob("/usr/share/python-wheels/*.whl")
	if files == nil {
		t.Skip("no wheels on this machine (python3-pip-whl has some)")
	}
	for _, file := range files {
		n, err := ParseName(filepath.Base(file), "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := WheelMetadata(bytes.NewReader(b), int64(len(b)), n)
		if err == nil {
			_, err = ReadMetadata(text, n)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("leaf-1.0-1-py2.py3-none-any.whl", "leaf")
	f.Add("a-b-1.0.tar.gz", "a.b")
	f.Fuzz(func(t *testing.T, file, project string) {
		n, err := ParseName(file, project)
		if err == nil && (strings.ContainsAny(file, "/\x00\\") || !ValidName(n.Project)) {
			t.Errorf("%q became %+v", file, n)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMetadata(b); err == nil && (!ValidName(m.Name) || m.Version.IsZero()) {
			t.Errorf("%+v", m)
		}
	})
}

func FuzzWheel(f *testing.F) {
	f.Add(zipped(f, "leaf-1.0.dist-info/METADATA", text))
	n := leaf(f)
	f.Fuzz(func(_ *testing.T, b []byte) { WheelMetadata(bytes.NewReader(b), int64(len(b)), n) })
}

func FuzzSource(f *testing.F) {
	f.Add(tarred(f, "leaf-1.0/PKG-INFO", text, "leaf-1.0/leaf.egg-info/requires.txt", "[:"))
	n, err := ParseName("leaf-1.0.tar.gz", "leaf")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := ReadSource(bytes.NewReader(b), int64(len(b)), n); err == nil {
			s.Metadata(n)
		}
	})
}
