//go:build containers_image_openpgp

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/oci"
)

// registry serves the images of image layouts, as registries do to who only reads.
type registry struct {
	layouts map[string]string // by the repository's name
	damaged bool              // layers come with other bytes than they should

	mu      sync.Mutex
	fetched []string
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path := strings.TrimPrefix(q.URL.Path, "/v2/")
	if path == "" {
		return
	}
	r.mu.Lock()
	r.fetched = append(r.fetched, path)
	r.mu.Unlock()
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		name, what, ok := strings.Cut(path, kind)
		dir, known := r.layouts[name]
		if !ok || !known {
			continue
		}
		r.serve(w, dir, what, kind == "/manifests/")
		return
	}
	http.NotFound(w, q)
}

func (r *registry) serve(w http.ResponseWriter, dir, what string, manifest bool) {
	mediaType := "application/octet-stream"
	if manifest {
		var index struct {
			Manifests []struct {
				MediaType, Digest string
				Annotations       map[string]string
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err == nil {
			err = json.Unmarshal(text, &index)
		}
		if err != nil || len(index.Manifests) != 1 {
			http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
			return
		}
		what, mediaType = index.Manifests[0].Digest, index.Manifests[0].MediaType
	}
	text, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(what, "sha256:")))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if r.damaged && !manifest && !json.Valid(text) {
		text[len(text)/2] ^= 1
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", what)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.Write(text)
}

// serveImages starts a registry on loopback and gives its host.
func serveImages(t *testing.T, r *registry) (host string, stop func()) {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), server.Close
}

// writeImage makes an image layout of a tar.
func writeImage(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	image, err := oci.Assemble(context.Background(), nil, []oci.Layer{{Tar: file}}, oci.Config{Gzip: true, TempDir: dir, Cmd: []string{"/bin/sh"}})
	if err == nil {
		err = image.WriteLayout(context.Background(), filepath.Join(dir, "layout"), "latest")
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "layout")
}

// machineBase is an image that runs this machine's programs, once /usr is bound.
func machineBase(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, text string) {
		h.Size, h.ModTime = int64(len(text)), time.Unix(1, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	for _, name := range []string{"etc/", "usr/", "tmp/"} {
		add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: "usr/" + name, Mode: 0o777}, "")
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, "root:x:0:0::/root:/bin/sh\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "base.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return writeImage(t, file)
}

// writeHook makes an element that is an operating system made by one root hook.
func writeHook(t *testing.T, elements, name, text string) {
	t.Helper()
	for path, text := range map[string]string{"element-provides": "operating-system\n", "root.d/08-" + name: "#!/bin/bash\nset -eu -o pipefail\n" + text} {
		path = filepath.Join(elements, name, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// command is dibber as hooks can call it again, which the test binary itself is not.
func command(t *testing.T, env []string, story io.Writer, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("dibber")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, story, story
	return cmd
}

func TestHooksBuildOnAnImageOfARegistry(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	r := &registry{layouts: map[string]string{"team/base": machineBase(t)}}
	host, stop := serveImages(t, r)
	home, elements, temp := openHome(t), t.TempDir(), t.TempDir()
	writeHook(t, elements, "builds", `
mkdir "$TMP_BUILD_DIR/context"
printf 'FROM %s/team/base:1\nRUN echo ran >/ran\n' "$BASE_HOST" >"$TMP_BUILD_DIR/Containerfile"
podman build -t built -f "$TMP_BUILD_DIR/Containerfile" -v /usr:/usr:ro "$TMP_BUILD_DIR/context"
podman create --name one built
podman export one | sudo tar -C "$TARGET_ROOT" --numeric-owner -xf -
`)
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements, "BASE_HOST="+host, "TMP_DIR="+temp, "TMPDIR="+temp)
	build := func(want bool, args ...string) string {
		t.Helper()
		var story bytes.Buffer
		err := command(t, env, &story, append([]string{"build", "-n", "--keep-on-failure=false", "-t", "tar", "-o", filepath.Join(home, "image"), "builds"}, args...)...).Run()
		if (err == nil) != want {
			t.Fatalf("%v\n%s", err, &story)
		}
		return story.String()
	}
	build(true)
	out, err := exec.Command("tar", "-xOf", filepath.Join(home, "image.tar"), "./ran").CombinedOutput()
	if err != nil || string(out) != "ran\n" {
		t.Errorf("%q, %v", out, err)
	}
	noneLeft(t, home, temp)

	// Offline, the cache has it; nobody is asked.
	stop()
	asked := len(r.fetched)
	build(true, "--offline")
	if len(r.fetched) != asked {
		t.Errorf("offline, the registry was asked for %q", r.fetched[asked:])
	}
	env = append(env, "BASE_HOST=127.0.0.1:1")
	if story := build(false, "--offline"); !strings.Contains(story, "127.0.0.1:1/team/base") {
		t.Errorf("the image is not named: %s", story)
	}
	noneLeft(t, home, temp)
}

func TestHooksAreToldOfDamagedImages(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	host, _ := serveImages(t, &registry{damaged: true, layouts: map[string]string{"team/base": machineBase(t)}})
	home, elements := openHome(t), t.TempDir()
	writeHook(t, elements, "pulls", `docker run --rm "$BASE_HOST/team/base:1" true && exit 9; exit 8`)
	var story bytes.Buffer
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements, "BASE_HOST="+host)
	err := command(t, env, &story, "build", "-n", "--keep-on-failure=false", "-t", "tar", "-o", filepath.Join(home, "image"), "pulls").Run()
	if err == nil || !strings.Contains(story.String(), "status 8") || !strings.Contains(story.String(), "sha256:") {
		t.Errorf("%v\n%s", err, &story)
	}
}

// A build that is killed while docker builds leaves no process, and what it has
// mounted and unpacked is gone once the next build is done.
func TestAKilledEngineLeavesNothingForLong(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	host, _ := serveImages(t, &registry{layouts: map[string]string{"team/base": machineBase(t)}})
	home, elements, temp := openHome(t), t.TempDir(), t.TempDir()
	begun := filepath.Join(temp, "begun")
	writeHook(t, elements, "builds", `
mkdir "$TMP_BUILD_DIR/context"
printf 'FROM %s/team/base:1\nRUN echo >/begun/now; exec sleep "$SLEEP"\n' "$BASE_HOST" >"$TMP_BUILD_DIR/context/Dockerfile"
docker run -d -v /usr:/usr:ro "$BASE_HOST/team/base:1" sleep "$SLEEP"
docker build --build-arg SLEEP --env SLEEP="$SLEEP" -v /usr:/usr:ro -v "$BEGUN:/begun" "$TMP_BUILD_DIR/context"
echo done >"$TARGET_ROOT/done"
`)
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements, "BASE_HOST="+host, "BEGUN="+begun)
	if err := os.Mkdir(begun, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "-n", "--keep-on-failure=false", "-t", "tar", "-o", filepath.Join(home, "image"), "builds"}
	var story bytes.Buffer
	cmd := command(t, append(env, "SLEEP=86397"), &story, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := false
	for range 600 {
		if _, err := os.Stat(filepath.Join(begun, "now")); err == nil {
			seen = true
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	cmd.Process.Kill()
	if err := cmd.Wait(); !seen || err == nil {
		t.Fatalf("the build did not come to its sleep: %v\n%s", err, &story)
	}
	for _, mark := range []string{"sleep 86397", home} {
		if left := awaitNone(t, mark); len(left) > 0 {
			t.Errorf("still running: %q", left)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), home) {
		t.Errorf("something is mounted: %v", err)
	}
	if left, _ := filepath.Glob(home + "/.local/share/dibber/containers/builds/*/dibber/engine/graph-*"); len(left) == 0 {
		t.Error("the killed build has no store, so nothing is to be swept")
	}
	story.Reset()
	if err := command(t, append(env, "SLEEP=0"), &story, args...).Run(); err != nil {
		t.Fatalf("the next build: %v\n%s", err, &story)
	}
	if err := os.RemoveAll(begun); err != nil {
		t.Fatal(err)
	}
	noneLeft(t, home, temp)
}

// diskimage-builder's own elements, as they are, make a Debian of an image in a
// registry: containerfile with podman, as user and with sudo, and docker.
func TestUpstreamElementsStartFromContainers(t *testing.T) {
	checkout := os.Getenv("DIBBER_UPSTREAM")
	if checkout == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	if why := canBuild(t); why != "" {
		t.Fatal("working containers do not run here: ", why)
	}
	file := filepath.Join(t.TempDir(), "debian.tar")
	deploy := exec.Command("mmdebstrap", "--variant=essential", "--include=passwd", "bookworm", file)
	if mirror := os.Getenv("DIB_DISTRIBUTION_MIRROR"); mirror != "" {
		deploy.Args = append(deploy.Args, mirror)
	}
	deploy.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := deploy.CombinedOutput(); err != nil {
		t.Fatalf("making an image: %v\n%s", err, out)
	}
	layout := writeImage(t, file)
	host, _ := serveImages(t, &registry{layouts: map[string]string{"team/debian": layout}})
	home := openHome(t)
	containerfile := filepath.Join(home, "Containerfile")
	text := "FROM " + host + "/team/debian:bookworm\nCOPY --chown=7:8 /given /etc/given\nRUN id -u >/etc/built && useradd -m -u 1234 somebody\n"
	given := filepath.Join(home, "context", "given")
	if err := os.Mkdir(filepath.Dir(given), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{containerfile: text, given: "given\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+filepath.Join(checkout, "diskimage_builder/elements"), "DIB_RELEASE=bookworm", "DISTRO_NAME=debian")
	env = append(env, "DIB_CONTAINERFILE_DOCKERFILE="+containerfile, "DIB_CONTAINER_CONTEXT="+filepath.Dir(given), "DIB_DOCKER_IMAGE="+host+"/team/debian:bookworm")
	for _, tt := range []struct {
		name string
		env  []string
		want []string
	}{
		{"containerfile", nil, []string{" 7/8 ", " 1234/1234 "}},
		{"containerfile", []string{"DIB_CONTAINERFILE_RUNTIME=docker", "DIB_CONTAINERFILE_RUNTIME_ROOT=1"}, []string{" 7/8 ", " 1234/1234 "}},
		{"docker", nil, nil},
	} {
		t.Run(strings.Join(append([]string{tt.name}, tt.env...), " "), func(t *testing.T) {
			var story bytes.Buffer
			cmd := command(t, append(env, tt.env...), &story, "-n", "-t", "tar", "-o", filepath.Join(home, "image"), tt.name)
			cmd.Args[0] = "disk-image-create"
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, &story)
			}
			list, err := exec.Command("tar", "--numeric-owner", "-tvf", filepath.Join(home, "image.tar")).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, list)
			}
			for _, want := range append(tt.want, "-rwsr-xr-x 0/0 ", "/etc/shadow") {
				if !strings.Contains(string(list), want) {
					t.Errorf("nothing in the image is like %q", want)
				}
			}
		})
	}
}
