package oci

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// tryRun gives a command's output if it fails, and "" if it does not.
func tryRun(args ...string) string {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return err.Error() + ": " + string(out)
	}
	return ""
}

// helloLayer gives a layer with a statically linked program, /hello, that says
// its first argument, and an entry for the root directory as dibber writes them.
func helloLayer(t *testing.T) Layer {
	t.Helper()
	dir := t.TempDir()
	source := write(t, filepath.Join(dir, "hello.go"), []byte("package main\n\nimport \"os\"\n\nfunc main() { println(os.Args[1], os.Getenv(\"WHO\")) }\n"))
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hello"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "HOME="+dir, "GOCACHE="+goCache(t))
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("this check needs a Go compiler: %v: %s", err, out)
	}
	tarFile := filepath.Join(dir, "layer.tar")
	run(t, need(t, "tar"), "-C", dir, "--owner=0", "--group=0", "--mode=0755", "-cf", tarFile, "hello")
	plain, err := os.ReadFile(tarFile)
	if err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := tarfile.WriteRoot(&whole, &tree.Inode{Mode: tree.TypeDir | 0o555, UID: 1}, nil, 1e9); err != nil {
		t.Fatal(err)
	}
	whole.Write(plain)
	return Layer{Tar: write(t, tarFile, whole.Bytes())}
}

// goCache is asked for before a test puts HOME elsewhere.
func goCache(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(run(t, "go", "env", "GOCACHE"))
}

func TestPodmanLoadsAndRunsWhatIsWritten(t *testing.T) {
	podman := need(t, "podman")
	hello := helloLayer(t)
	dir, err := os.MkdirTemp("/tmp", "p") // podman wants short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args := []string{podman, "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}
	if out := tryRun(append(args, "info")...); out != "" {
		t.Skip("this check needs a podman that works: ", out)
	}
	t.Cleanup(func() {
		if out := tryRun(append(args, "rmi", "--all", "--force")...); out != "" {
			t.Log(out)
		}
		_ = tryRun(podman, "unshare", "rm", "-rf", dir) // files may belong to subordinate ids
	})
	for _, gz := range []bool{true, false} {
		image := build(t, Config{Architecture: runtime.GOARCH, Gzip: gz, Entrypoint: []string{"/hello"}, Cmd: []string{"hello"}, Env: []string{"WHO=world"}}, hello)
		archives := map[string]func(io.Writer) error{
			"docker": func(w io.Writer) error { return image.WriteDockerArchive(bg, w, "localhost/hello:1") },
			"oci":    func(w io.Writer) error { return image.WriteOCIArchive(bg, w, "localhost/hello:1") },
		}
		for kind, writeTo := range archives {
			file := filepath.Join(dir, kind+".tar")
			save(t, file, writeTo)
			run(t, append(args, "load", "-i", file)...)
			made := strings.TrimSpace(run(t, append(args, "create", "--network=none", "localhost/hello:1")...))
			content := run(t, append(args, "export", made)...)
			if !strings.Contains(content, "\x00ustar") || !strings.Contains(content, "hello\x00") {
				t.Errorf("%s, gzip %v: the container has no file hello", kind, gz)
			}
			t.Run(kind, func(t *testing.T) { runHello(t, args) })
			run(t, append(args, "rm", "--force", made)...)
			run(t, append(args, "rmi", "--force", "localhost/hello:1")...)
		}
	}
}

// runHello runs the loaded image, where the machine lets podman run containers.
func runHello(t *testing.T, podman []string) {
	t.Helper()
	limits := []string{"--network=none", "--ulimit=nofile=512:512", "--ulimit=nproc=512:512"}
	args := append([]string{}, podman[1:]...)
	if _, err := exec.LookPath("runc"); err == nil {
		args = append(args, "--runtime=runc") // crun refuses hybrid cgroups
	}
	args = append(append(args, "run", "--rm"), limits...)
	out, err := exec.Command(podman[0], append(args, "localhost/hello:1")...).CombinedOutput()
	if err != nil && strings.Contains(string(out), "crun:") {
		t.Skipf("the image was loaded, but podman cannot run containers on this machine: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "hello world") {
		t.Errorf("%v: %s", err, out)
	}
}
