package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	hubs "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// item is an entry of a layer. A name that ends in "/" is a folder, a link has a target.
type item struct{ name, content, link string }

func tarOf(t *testing.T, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		h := &tar.Header{Name: it.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(it.content)), ModTime: time.Unix(1e9, 0)}
		switch {
		case strings.HasSuffix(it.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case strings.HasPrefix(it.link, "hard:"):
			h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(it.link, "hard:")
		case it.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, it.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, it.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func layerOf(t *testing.T, items ...item) Layer {
	t.Helper()
	return Layer{Tar: write(t, filepath.Join(t.TempDir(), "layer.tar"), tarOf(t, items...)), CreatedBy: "a test"}
}

// build assembles an image from nothing; c.TempDir is seen to.
func build(t *testing.T, c Config, layers ...Layer) *Image {
	t.Helper()
	c.TempDir = t.TempDir()
	image, err := Assemble(bg, nil, layers, c)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// debian is a small image that tells its release.
func debian(t *testing.T, arch string) *Image {
	t.Helper()
	return build(t, Config{Architecture: arch, Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/sh"}, Gzip: true},
		layerOf(t, item{name: "etc/"}, item{name: "etc/os-release", content: "ID=debian\nARCH=" + arch + "\n"}, item{name: "etc/hostname", content: strings.Repeat(arch, 1000)}))
}

// hub is a registry in this process, which counts requests and can be made to
// misbehave.
type hub struct {
	*httptest.Server
	host    string
	mu      sync.Mutex
	seen    []string
	tamper  func(path string, body []byte) []byte
	allowed func(*http.Request) bool
}

func newHub(t *testing.T, start func(http.Handler) *httptest.Server) *hub {
	t.Helper()
	h := &hub{}
	inner := hubs.New(hubs.Logger(log.New(io.Discard, "", 0)))
	h.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen = append(h.seen, r.Method+" "+r.URL.Path)
		h.mu.Unlock()
		if h.allowed != nil && !h.allowed(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if h.tamper == nil {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(h.tamper(r.URL.Path, rec.Body.Bytes())) // the client may have gone
	}))
	t.Cleanup(h.Close)
	_, h.host, _ = strings.Cut(h.URL, "://")
	return h
}

// asked counts the requests whose path holds part.
func (h *hub) asked(part string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, s := range h.seen {
		if strings.HasPrefix(s, "GET") && strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// pushIndex puts images for several platforms under one tag.
func (h *hub) pushIndex(t *testing.T, repo string, images ...*Image) {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		img, err := i.remoteable()
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: i.config.Platform()}})
	}
	// An attestation, as buildx adds them.
	img, err := images[0].remoteable()
	if err != nil {
		t.Fatal(err)
	}
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: mutate.Annotations(img, map[string]string{"about": "x"}).(v1.Image),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	ref, err := name.ParseReference(h.host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
}

// quiet keeps the machine's own configuration and logins out of a test.
func quiet(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"} {
		t.Setenv(name, home)
	}
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", write(t, filepath.Join(home, "empty.conf"), nil))
	return home
}

func need(t *testing.T, tool string) string {
	t.Helper()
	p, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("this check needs %s: %v", tool, err)
	}
	return p
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("there is no error; want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error is %q; want %q in it", err, p)
		}
	}
}
