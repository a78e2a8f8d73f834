package pypi

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// wheel makes a wheel by hand.
func wheel(t *testing.T, project, version string, requires ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := strings.ReplaceAll(project, "-", "_") + "-" + version + ".dist-info/"
	text := "Metadata-Version: 2.1\nName: " + project + "\nVersion: " + version + "\n"
	for _, r := range requires {
		text += "Requires-Dist: " + r + "\n"
	}
	for name, content := range map[string]string{
		info + "METADATA": text, info + "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
		"big.bin": strings.Repeat(project+version, 30_000), info + "RECORD": "",
	} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(content))
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

// sdist makes an archive of sources by hand.
func sdist(t *testing.T, project, version string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	all := map[string]string{"PKG-INFO": "Metadata-Version: 2.1\nName: " + project + "\nVersion: " + version + "\n"}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if err := w.WriteHeader(&tar.Header{Name: project + "-" + version + "/" + name, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// upstream is an index whose answers a test may spoil.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte // by name
	asked map[string]int    // paths
	spoil func(http.ResponseWriter, *http.Request) bool
}

func newUpstream(t *testing.T, files map[string][]byte) *upstream {
	t.Helper()
	u := &upstream{files: files, asked: map[string]int{}}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Server.Close)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.asked[r.URL.Path]++
	spoil := u.spoil
	u.mu.Unlock()
	if spoil != nil && spoil(w, r) {
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
		u.serveFile(w, name)
		return
	}
	project := strings.Trim(strings.TrimPrefix(r.URL.Path, "/simple/"), "/")
	p := &index.Project{Name: project}
	for name, content := range u.files {
		if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), project+"-") {
			p.Files = append(p.Files, index.File{
				Name: name, URL: "../../files/" + name, Size: int64(len(content)),
				Hashes: map[string]string{"sha256": sum(content)},
			})
		}
	}
	if p.Files == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"one"`)
	if r.Header.Get("If-None-Match") == `"one"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", index.JSON)
	w.Write(p.ToJSON())
}

func (u *upstream) serveFile(w http.ResponseWriter, name string) {
	content, ok := u.files[name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Write(content)
}

func (u *upstream) count(path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[path]
}

func (u *upstream) set(spoil func(http.ResponseWriter, *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spoil = spoil
}

// journal is what a server logs.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func newClient(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(ClientOptions{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func source(t *testing.T, location string) Source {
	t.Helper()
	s, err := NewSource(location, newClient(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openMirror(t *testing.T, dir string) *Mirror {
	t.Helper()
	m, err := OpenMirror(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// serve runs a server on a mirror; sources are locations.
func serve(t *testing.T, dir string, maxAge time.Duration, sources ...string) (string, *journal) {
	t.Helper()
	j := &journal{}
	o := ServerOptions{Mirror: openMirror(t, dir), MaxAge: maxAge, MaxFile: 10 << 20, Log: j.add, Now: time.Now}
	for _, s := range sources {
		o.Sources = append(o.Sources, source(t, s))
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		s.stop()
		s.busy.Wait()
	})
	return server.URL, j
}

// directoryOf writes files into a fresh directory.
func directoryOf(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func wheelName(project, version string) string {
	return fmt.Sprintf("%s-%s-py3-none-any.whl", strings.ReplaceAll(project, "-", "_"), version)
}
