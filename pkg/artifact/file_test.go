package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the tests start this program again as a process of its own.
func TestMain(m *testing.M) {
	if job := os.Getenv("ARTIFACT_TEST_JOB"); job != "" {
		os.Exit(runJob(job, os.Args[1]))
	}
	os.Exit(m.Run())
}

// start runs one of the jobs on path in a process of its own, up to where it
// says that it is ready.
func start(t *testing.T, job, path string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), "ARTIFACT_TEST_JOB="+job)
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("a process for the test cannot be started: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	b := make([]byte, 1000)
	n, err := out.Read(b)
	if said := string(b[:n]); err != nil || !strings.HasPrefix(said, "ready") {
		if strings.HasPrefix(said, "skip ") {
			t.Skip(said[5:])
		}
		t.Fatalf("the process said %q, %v", said, err)
	}
	return cmd
}

func runJob(job, path string) int {
	err := map[string]func(string) error{
		"unnamed": jobUnnamed, "hidden": jobHidden, "dir": jobDir, "full": jobFull,
	}[job](path)
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	return 0
}

func wait() error {
	fmt.Println("ready")
	time.Sleep(time.Minute)
	return nil
}

func jobUnnamed(path string) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("half an ima"); err != nil {
		return err
	}
	return wait()
}

func jobHidden(path string) error {
	dir, base := split(path)
	f, _, err := createHidden(dir, base)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("half an ima"); err != nil {
		return err
	}
	return wait()
}

func jobDir(path string) error {
	d, err := CreateDir(path, "")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.Temp(), "half"), nil, 0o666); err != nil {
		return err
	}
	return wait()
}

// names lists what is in the directory, one string.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// begin creates path in both ways, with and without a name.
func begin(t *testing.T, path string, hidden bool) *File {
	t.Helper()
	if !hidden {
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	dir, base := split(path)
	removeStale(dir, base)
	f, name, err := createHidden(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	return &File{File: f, path: path, hidden: name}
}

func TestAFileAppearsAtCommitAndNotBefore(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		for _, before := range []string{"", "old"} {
			path := filepath.Join(t.TempDir(), "disk.raw")
			if before != "" {
				put(t, path, before)
			}
			f := begin(t, path, hidden)
			if _, err := f.WriteAt([]byte("new"), 0); err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(path); string(b) != before {
				t.Errorf("before Commit there is %q, want %q", b, before)
			}
			if err := f.Commit(); err != nil {
				t.Fatal(err)
			}
			f.Discard() // does nothing any more
			if got := read(t, path); got != "new" {
				t.Errorf("after Commit there is %q", got)
			}
			if got := names(t, filepath.Dir(path)); got != "disk.raw" {
				t.Errorf("the directory holds %s", got)
			}
			if err := f.Commit(); err == nil {
				t.Error("a file was committed twice")
			}
		}
	}
}

func TestADiscardedFileLeavesNothing(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		for _, end := range []func(*File){(*File).Discard, func(f *File) { f.Close() }} {
			path := filepath.Join(t.TempDir(), "disk.raw")
			put(t, path, "old")
			f := begin(t, path, hidden)
			f.WriteString("new")
			end(f)
			if got := names(t, filepath.Dir(path)) + " " + read(t, path); got != "disk.raw old" {
				t.Errorf("there is %s", got)
			}
			if err := f.Commit(); err == nil {
				t.Error("a discarded file was committed")
			}
		}
	}
}

func TestAFileHasTheModeOfAnyNewFile(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		put(t, path+".plain", "")
		if err := begin(t, path, hidden).Commit(); err != nil {
			t.Fatal(err)
		}
		got, _ := os.Stat(path)
		want, _ := os.Stat(path + ".plain")
		if got.Mode() != want.Mode() {
			t.Errorf("the mode is %v, want %v", got.Mode(), want.Mode())
		}
	}
}

func TestTwoWritersOfOneNameDoNotMix(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		a := begin(t, path, hidden)
		b := begin(t, path, hidden)
		a.WriteString("from a")
		b.WriteString("b")
		for _, c := range []struct {
			f    *File
			want string
		}{{a, "from a"}, {b, "b"}} {
			if err := c.f.Commit(); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != c.want {
				t.Errorf("there is %q, want %q", got, c.want)
			}
		}
	}
}

func TestAKilledProcessLeavesNothingUnderTheName(t *testing.T) {
	for job, left := range map[string]bool{"unnamed": false, "hidden": true, "dir": true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "disk")
		cmd := start(t, job, path, nil)
		if job == "unnamed" && names(t, dir) != "" {
			t.Skipf("the file system of %s has no unnamed files", dir)
		}
		// While the owner lives nothing of it is removed.
		removeStale(split(path))
		if got := names(t, dir); (got != "") != left {
			t.Errorf("%s: while it runs, the directory holds %q", job, got)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Discard()
		if got := names(t, dir); got != "" {
			t.Errorf("%s: after it was killed, the directory holds %q", job, got)
		}
	}
}

func TestOnlyLeftoversOfTheSameNameAreRemoved(t *testing.T) {
	dir := t.TempDir()
	keep := []string{".disk.dibber-", ".disk.dibber-1", ".disk.dibber-1-x", ".disk.dibber-1-2-3", ".disk2.dibber-1-2", "disk.dibber-1-2", ".disk.dibber-1-3"}
	for _, n := range keep[:len(keep)-1] {
		put(t, filepath.Join(dir, n), "")
	}
	put(t, filepath.Join(dir, ".disk.dibber-1-2"), "")
	if err := os.Symlink("disk.dibber-1-2", filepath.Join(dir, keep[len(keep)-1])); err != nil {
		t.Fatal(err)
	}
	removeStale(dir, "disk")
	for _, n := range keep {
		if _, err := os.Lstat(filepath.Join(dir, n)); err != nil {
			t.Errorf("%s is gone", n)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, ".disk.dibber-1-2")); err == nil {
		t.Error("the leftover is still there")
	}
}

func TestALongNameHasAHiddenNameToo(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), strings.Repeat("x", 255))
		put(t, path, "old")
		f := begin(t, path, hidden)
		f.WriteString("new")
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if read(t, path) != "new" {
			t.Error("the file is the old one")
		}
	}
}

// device finds a block device that the test never opens.
func device(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/dev/vd?", "/dev/sd?", "/dev/nvme*n1", "/dev/loop?"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if st, err := os.Stat(path); err == nil && st.Mode().Type() == fs.ModeDevice {
				return path
			}
		}
	}
	t.Skip("there is no block device on this machine")
	return ""
}

func TestWhatIsNoRegularFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"": "no name", dir: "is a directory", fifo: "not a regular file", link: "not a regular file",
		filepath.Join(dir, "none", "disk"): "no such file or directory", filepath.Join(fifo, "disk"): "not a directory",
	} {
		if _, err := Create(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: the error is %v, want one with %q", path, err, want)
		}
	}
	if _, err := Create(device(t)); err == nil || !strings.Contains(err.Error(), "block device") {
		t.Errorf("a block device: the error is %v", err)
	}
}

func TestCommitDoesNotReplaceWhatAppearedMeanwhile(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "disk")
		f := begin(t, path, hidden)
		if err := os.Mkdir(path, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("the error is %v", err)
		}
		if got := names(t, filepath.Dir(path)); got != "disk" {
			t.Errorf("the directory holds %q", got)
		}
	}
}

func TestOpenDeviceRefusesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	put(t, path, "old")
	for _, p := range []string{path, "/dev/null", path + "-none"} {
		if _, err := OpenDevice(context.Background(), p, 0); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: the error is %v", p, err)
		}
	}
}

func TestZeroWorksWithoutTheKernelsHelp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	put(t, path, strings.Repeat("x", 100_000))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := zero(context.Background(), f, 70_001); err != nil {
		t.Fatal(err)
	}
	want := append(make([]byte, 70_001), bytes.Repeat([]byte("x"), 29_999)...)
	if read(t, path) != string(want) {
		t.Error("other bytes are zero")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := zero(ctx, f, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// jobFull mounts a file system of 1 MiB at path and fills it.
func jobFull(path string) error {
	if err := unix.Mount("none", path, "tmpfs", 0, "size=1m"); err != nil {
		fmt.Println("skip tmpfs cannot be mounted:", err)
		return nil
	}
	name := filepath.Join(path, "disk.raw")
	for _, write := range []func(*File, []byte) error{
		func(f *File, p []byte) error { _, err := f.Write(p); return err },
		func(f *File, p []byte) error { _, err := f.WriteAt(p, 0); return err },
		func(f *File, p []byte) error { _, err := f.WriteString(string(p)); return err },
		func(f *File, p []byte) error { _, err := f.ReadFrom(bytes.NewReader(p)); return err },
	} {
		f, err := Create(name)
		if err != nil {
			return err
		}
		err = write(f, make([]byte, 3<<20))
		f.Discard()
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("the error is %v", err)
		}
		for _, want := range []string{name, "1048576 bytes take space already", "0 bytes are free in " + path, "no space left on device"} {
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the error %q does not hold %q", err, want)
			}
		}
		if left, err := os.ReadDir(path); err != nil || len(left) > 0 {
			return fmt.Errorf("the directory holds %v, %v", left, err)
		}
	}
	fmt.Println("ready")
	return nil
}

func TestAFullDiskIsExplained(t *testing.T) {
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	start(t, "full", t.TempDir(), attr)
}

func TestADeviceIsZeroedAndWrittenInPlace(t *testing.T) {
	tool, err := exec.LookPath("/usr/sbin/losetup")
	if err != nil || os.Getuid() != 0 {
		t.Skip("a loop device needs root and losetup (package mount)")
	}
	backing := filepath.Join(t.TempDir(), "backing")
	put(t, backing, strings.Repeat("x", 1<<20))
	out, err := exec.Command(tool, "--show", "-f", backing).Output()
	if err != nil {
		t.Skipf("this machine gives no loop device: %v", err)
	}
	path := strings.TrimSpace(string(out))
	defer exec.Command(tool, "-d", path).Run()
	if _, err := OpenDevice(context.Background(), path, 1<<20+1); err == nil || !strings.Contains(err.Error(), "it has 1048576 bytes, and 1048577") {
		t.Errorf("too small a device: the error is %v", err)
	}
	f, err := OpenDevice(context.Background(), path, 1<<19)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDevice(context.Background(), path, 1<<19); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a device in use: the error is %v", err)
	}
	if _, err := f.WriteAt([]byte("new"), 512); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 19); err != nil {
		t.Error(err)
	}
	if err := f.Truncate(1<<20 + 1); err == nil {
		t.Error("a device was made longer")
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 1<<19, 1<<20)
	copy(want[512:], "new")
	want = append(want, bytes.Repeat([]byte("x"), 1<<19)...)
	if read(t, backing) != string(want) {
		t.Error("the device holds other bytes")
	}
}
