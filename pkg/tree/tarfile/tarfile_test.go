package tarfile_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// hard is a tree with all that an archive may hold; lines names it.
func hard() map[string]string {
	const acl = `"\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x05\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff \x00\x04\x00\xff\xff\xff\xff"`
	return map[string]string{
		"/":                                   "dir 0755 0:0 @1600000000",
		"/dev":                                "dir 0755 0:0 @5",
		"/dev/null":                           "char 0666 0:0 @7 1,3",
		"/dev/sda":                            "block 0660 0:6 @7 259,700",
		"/etc":                                "dir 0751 70000:3000000 @7",
		"/etc/acl":                            "file 0644 0:0 @7 +system.posix_acl_access=" + acl + " content",
		"/etc/before":                         "file 0644 0:0 @-5 older than the epoch",
		"/etc/later":                          "file 0644 0:0 @9999999999",
		"/etc/odd\xffname":                    "file 0644 0:0 @7 odd",
		"/etc/ping":                           `file 4755 0:0 @7 +security.capability="\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" x`,
		"/etc/second":                         "link /etc/acl",
		"/etc/sym":                            "symlink 0777 0:0 @7 ../nowhere\xff",
		"/etc/xattrs":                         `file 0644 0:0 @7 +user.a=b +user.empty="" +user.null="\x00\x01=\n" x`,
		"/fifo":                               "fifo 0600 0:0 @7",
		"/grüße":                              "symlink 0777 0:0 @7 " + strings.Repeat("long/", 60),
		"/long":                               "dir 0755 0:0 @7",
		"/long/" + strings.Repeat("name", 60): "file 0644 0:0 @7 long",
		"/long/" + strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200): "file 0644 0:0 @7 long",
		"/long/" + strings.Repeat("n", 200):                                  "dir 0755 0:0 @7",
		"/sticky":                                                            "dir 1777 0:0 @7",
	}
}

func write(t testing.TB, tr *tree.Tree, o tarfile.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tarfile.Write(context.Background(), &b, tr, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t testing.TB, b []byte) *tree.Tree {
	t.Helper()
	tr, err := tarfile.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestATreeSurvivesARoundTrip(t *testing.T) {
	lines := hard()
	lines["/attributes"] = "file 0644 0:0 +user.equals=x=y +user.per%cent=x x"
	tr := treetest.New(t, lines)
	tr.Lookup("/attributes").Inode.Xattrs[0].Name = "user.a=%3Db"
	want := treetest.Format(t, tr)
	b := write(t, tr, tarfile.Options{Prefix: "./"})
	treetest.CompareLines(t, treetest.Format(t, read(t, b)), want)
	if again := write(t, tr, tarfile.Options{Prefix: "./"}); !bytes.Equal(b, again) {
		t.Error("the same tree gives other bytes")
	}
}

func names(t *testing.T, b []byte) (out []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err != nil {
			return out
		}
		name := h.Name
		if h.Typeflag == tar.TypeLink {
			name += " -> " + h.Linkname
		}
		out = append(out, name)
	}
}

func TestPrefixAndExclusionsShapeTheNames(t *testing.T) {
	tr := treetest.New(t, map[string]string{
		"/a/first": "file 0644 0:0 x", "/b/second": "link /a/first", "/c": "link /a/first",
		"/proc/x": "file 0644 0:0", "/sys/x": "file 0644 0:0", "/system": "file 0644 0:0",
	})
	for _, c := range []struct {
		o    tarfile.Options
		want string
	}{
		{tarfile.Options{Prefix: "./", Exclude: []string{"/sys", "proc/"}}, "./ ./a/ ./a/first ./b/ ./b/second -> ./a/first ./c -> ./a/first ./system"},
		{tarfile.Options{Exclude: []string{"/a", "/proc", "/sys"}}, "b/ b/second c -> b/second system"},
		{tarfile.Options{Prefix: "rootfs/", Exclude: []string{"/a", "/proc", "/sys"}}, "rootfs/ rootfs/b/ rootfs/b/second rootfs/c -> rootfs/b/second rootfs/system"},
	} {
		if got := strings.Join(names(t, write(t, tr, c.o)), " "); got != c.want {
			t.Errorf("%+v:\n%s, want\n%s", c.o, got, c.want)
		}
	}
}

func gnuTar(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command("tar", append(args, "--xattrs", "--xattrs-include=*", "--numeric-owner")...).CombinedOutput()
	return string(out), err
}

func needRootAndTar(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make device nodes, owners and capabilities")
	}
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("needs GNU tar")
	}
}

func TestGNUTarReadsWhatWasWritten(t *testing.T) {
	needRootAndTar(t)
	lines := hard()
	tr := treetest.New(t, lines)
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(file, write(t, tr, tarfile.Options{Prefix: "./"}), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := gnuTar(t, "-xpf", file, "-C", dir); err != nil {
		t.Fatalf("tar -x: %v\n%s", err, out)
	}
	if out, err := gnuTar(t, "--compare", "-f", file, "-C", dir); err != nil {
		t.Errorf("tar --compare: %v\n%s", err, out)
	}
	// GNU tar does not compare extended attributes; reading the directory does.
	lines["/dev"] = "dir 0755 0:0 @5"
	delete(lines, "/dev/null")
	delete(lines, "/dev/sda")
	got, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	treetest.Compare(t, got, lines)
}

func TestGNUTarFindsAPlantedDifference(t *testing.T) {
	needRootAndTar(t)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	for what, change := range map[string]func(string) error{
		"content": func(p string) error { return os.WriteFile(p, []byte("CONTENT"), 0o644) },
		"mode":    func(p string) error { return os.Chmod(p, 0o600) },
		"owner":   func(p string) error { return os.Chown(p, 1, 1) },
		"missing": os.Remove,
	} {
		tr := treetest.New(t, map[string]string{"/file": "file 0644 0:0 @7 content"})
		if err := os.WriteFile(file, write(t, tr, tarfile.Options{Prefix: "./"}), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := gnuTar(t, "-xpf", file, "-C", dir); err != nil {
			t.Fatalf("tar -x: %v\n%s", err, out)
		}
		if err := change(filepath.Join(dir, "file")); err != nil {
			t.Fatal(err)
		}
		if out, err := gnuTar(t, "--compare", "-f", file, "-C", dir); err == nil {
			t.Errorf("tar --compare finds no other %s: %s", what, out)
		}
	}
}

func TestWhatGNUTarWritesIsRead(t *testing.T) {
	needRootAndTar(t)
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(file, write(t, treetest.New(t, hard()), tarfile.Options{Prefix: "./"}), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := gnuTar(t, "-xpf", file, "-C", dir); err != nil {
		t.Fatalf("tar -x: %v\n%s", err, out)
	}
	if out, err := gnuTar(t, "-cf", file, "--format=pax", "-C", dir, "."); err != nil {
		t.Fatalf("tar -c: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, read(t, b), hard())
}

type entry struct {
	kind    byte
	name    string
	link    string
	content string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Size: int64(len(e.content)), Mode: 0o644}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileNamesStayInTheTree(t *testing.T) {
	tr := read(t, archive(t,
		entry{tar.TypeReg, "../../etc/passwd", "", "up"},
		entry{tar.TypeReg, "/absolute", "", "absolute"},
		entry{tar.TypeSymlink, "out", "../../../tmp", ""},
		entry{tar.TypeReg, "out/file", "", "through a link"},
		entry{tar.TypeReg, "twice", "", "first"},
		entry{tar.TypeReg, "twice", "", "last"},
		entry{tar.TypeReg, "dir/below", "", "gone"},
		entry{tar.TypeReg, "dir", "", "instead of a directory"},
		entry{tar.TypeLink, "a/hard", "../etc/passwd", ""},
	))
	treetest.Compare(t, tr, map[string]string{
		"/a/hard":     "file 0644 0:0 up",
		"/absolute":   "file 0644 0:0 absolute",
		"/dir":        "file 0644 0:0 instead of a directory",
		"/etc/passwd": "link /a/hard",
		"/out":        "symlink 0777 0:0 ../../../tmp",
		"/tmp/file":   "file 0644 0:0 through a link",
		"/twice":      "file 0644 0:0 last",
	})
}

func TestWhatCannotBeReadIsRefusedByName(t *testing.T) {
	for want, entries := range map[string][]entry{
		"hard link to none, which is not there": {{tar.TypeLink, "x", "none", ""}},
		"hard link to d, a directory":           {{tar.TypeDir, "d", "", ""}, {tar.TypeLink, "x", "d", ""}},
		"too many symbolic links":               {{tar.TypeSymlink, "l", "l", ""}, {tar.TypeReg, "l/x", "", ""}},
		"file is not a directory":               {{tar.TypeReg, "file", "", ""}, {tar.TypeReg, "file/x", "", ""}},
		"the root is not a directory":           {{tar.TypeReg, ".", "", ""}},
	} {
		b := archive(t, entries...)
		if _, err := tarfile.Read(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b := archive(t, entry{tar.TypeReg, "file", "", strings.Repeat("x", 2000)})
	if _, err := tarfile.Read(bytes.NewReader(b), 1000); err == nil {
		t.Error("an archive cut short is read")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(write(f, treetest.New(f, hard()), tarfile.Options{Prefix: "./"}))
	f.Add(archive(f, entry{tar.TypeSymlink, "l", "..", ""}, entry{tar.TypeLink, "l/x", "l", ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := tarfile.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		err = tr.Walk(func(p string, n *tree.Node) error {
			if p != "/" && (n.Name == "" || n.Name == "." || n.Name == ".." || strings.Contains(n.Name, "/")) {
				t.Errorf("an entry is called %q", n.Name)
			}
			if n.Inode.Size > int64(len(b)) {
				t.Errorf("%s has %d bytes, the archive %d", p, n.Inode.Size, len(b))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
