package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

type v1Descriptor = v1.Descriptor

// cut passes a blob on up to a number of bytes and then breaks the connection.
func cut(w http.ResponseWriter, content []byte, r *http.Request, after int) {
	from := 0
	if at := r.Header.Get("Range"); at != "" {
		_, _ = fmt.Sscanf(at, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	}
	_, _ = w.Write(content[from:min(from+after, len(content))])
	if from+after < len(content) {
		panic(http.ErrAbortHandler)
	}
}

// onlyDisk pushes a disk of some size to a registry in which answer may answer the
// request for its blob.
func onlyDisk(t *testing.T, size int, answer func(w http.ResponseWriter, r *http.Request, content []byte) bool) (*faulty, *Artifact, []byte) {
	t.Helper()
	var content []byte
	var digest string
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		return digest != "" && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest) && answer(w, r, content)
	})
	a, random := disk(t, "amd64", size)
	if err := Push(bg, h.host+"/disk:1", a, hasty); err != nil {
		t.Fatal(err)
	}
	content, digest = random, a.Files()[0].Digest
	return h, a, random
}

func TestADownloadGoesOnWhereItWas(t *testing.T) {
	h, _, content := onlyDisk(t, 5<<20+3, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		cut(w, content, r, 1<<20)
		return true
	})
	o := hasty
	o.Retries = 1
	got, err := fetched(t, h.host+"/disk:1", o)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestAnInterruptedFetchIsTakenUpByTheNext(t *testing.T) {
	var whole atomic.Bool
	var ranges atomic.Value
	h, _, content := onlyDisk(t, 3<<20, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if whole.Load() {
			ranges.Store(r.Header.Get("Range"))
			cut(w, content, r, len(content))
		} else {
			cut(w, content, r, 1<<20)
		}
		return true
	})
	o := hasty
	o.Retries = -1
	found, err := Find(bg, h.host+"/disk:1", o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "vm.qcow2")
	wantError(t, found.Artifact.Fetch(bg, 0, path, nil), "cannot fetch debian.qcow2", "kept for the next time")
	if _, err := os.Stat(path); err == nil {
		t.Error("half a file has the name of a whole one")
	}
	whole.Store(true)
	if err := found.Artifact.Fetch(bg, 0, path, nil); err != nil {
		t.Fatal(err)
	}
	if at, _ := ranges.Load().(string); at != fmt.Sprintf("bytes=%d-", 1<<20) {
		t.Errorf("the second fetch asked for %q", at)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestLyingBlobsAreRefusedAndLeaveNothing(t *testing.T) {
	for what, lie := range map[string]func(content []byte) []byte{
		"longer":  func(c []byte) []byte { return append(bytes.Clone(c), 1) },
		"damaged": func(c []byte) []byte { d := bytes.Clone(c); d[5] ^= 1; return d },
	} {
		h, _, _ := onlyDisk(t, 1<<20, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
			_, _ = io.Copy(w, bytes.NewReader(lie(content)))
			return true
		})
		found, err := Find(bg, h.host+"/disk:1", hasty)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		wantError(t, found.Artifact.Fetch(bg, 0, filepath.Join(dir, "x"), nil), what)
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}

func TestATruncatedBlobIsNotTakenForWhole(t *testing.T) {
	h, _, _ := onlyDisk(t, 1<<20, func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(content[:1000])
		return true
	})
	_, err := fetched(t, h.host+"/disk:1", hasty)
	wantError(t, err, "cannot fetch")
}

func TestAFileTooLargeForTheDiskIsNotBegun(t *testing.T) {
	a := &Artifact{files: []File{{Title: "x", Size: 1 << 60, Digest: "sha256:" + strings.Repeat("0", 64)}}}
	dir := t.TempDir()
	wantError(t, a.Fetch(bg, 0, filepath.Join(dir, "x"), nil), "it needs 1152921504606846976 bytes", "no space left")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// manifest is that of an artifact with files of the given names.
func manifestOf(t *testing.T, titles ...string) []byte {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, ArtifactType: "a/b", Config: v1.Descriptor{MediaType: "application/vnd.oci.empty.v1+json", Size: 2, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}}}
	for _, title := range titles {
		m.Layers = append(m.Layers, v1.Descriptor{Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}, Annotations: map[string]string{"org.opencontainers.image.title": title}})
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNamesOfFilesCannotLeadElsewhere(t *testing.T) {
	for _, title := range []string{"", ".", "..", "../x", "/etc/passwd", "a/b", `a\b`, ".bashrc", "-rf", "a\x1b[2J", "a\nb", "a\x00", strings.Repeat("x", 300)} {
		if _, err := parseArtifact(manifestOf(t, title)); err == nil {
			t.Errorf("%q was taken", title)
		}
	}
	if _, err := parseArtifact(manifestOf(t, "debian 12.qcow2", "daten-ä.raw")); err != nil {
		t.Error(err)
	}
	_, err := parseArtifact(manifestOf(t, "x", "x"))
	wantError(t, err, "two of its files")
	_, err = parseArtifact(manifestOf(t))
	wantError(t, err, "0 files")
	_, err = parseArtifact(bytes.ReplaceAll(manifestOf(t, "x"), []byte(`"size":1,`), []byte(`"size":-1,`)))
	wantError(t, err, "no size")
}

func FuzzArtifact(f *testing.F) {
	f.Add([]byte(`{"layers":[{"size":1,"digest":"sha256:` + strings.Repeat("b", 64) + `","annotations":{"org.opencontainers.image.title":"x"}}]}`))
	f.Add([]byte(`{"config":{"size":-1},"layers":[{"size":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := openArtifact(nil, memory{}, v1.Descriptor{}, raw)
		if err != nil {
			return
		}
		dir := t.TempDir()
		for _, file := range a.Files() {
			if filepath.Dir(filepath.Join(dir, file.Title)) != dir || file.Size < 0 || len(file.Digest) != 71 {
				t.Errorf("%q of %d bytes was taken", file.Title, file.Size)
			}
		}
	})
}

func FuzzReceived(f *testing.F) {
	for _, seed := range []string{"0-499", "bytes=0-0", "0-9223372036854775807", "5-9", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if received(header) < 0 {
			t.Errorf("%q gives less than nothing", header)
		}
	})
}
