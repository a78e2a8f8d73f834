package oci

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	hubs "github.com/google/go-containerregistry/pkg/registry"
)

// faulty is a registry in which something goes wrong: fault may answer a request in
// the registry's place.
type faulty struct {
	host string
	mu   sync.Mutex
	seen []string
}

func newFaulty(t *testing.T, fault func(w http.ResponseWriter, r *http.Request) (answered bool)) *faulty {
	t.Helper()
	quiet(t)
	f := &faulty{}
	inner := hubs.New(hubs.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+r.URL.RequestURI())
		f.mu.Unlock()
		if !fault(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	_, f.host, _ = strings.Cut(s.URL, "://")
	return f
}

// count tells how many requests had a method and a part in their address.
func (f *faulty) count(method, part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.seen {
		if strings.HasPrefix(s, method+" ") && strings.Contains(s, part) {
			n++
		}
	}
	return n
}

var hasty = ResolveOptions{Architecture: "amd64", RetryWait: time.Millisecond}

// disk is an artifact of one file of random bytes.
func disk(t *testing.T, arch string, size int) (*Artifact, []byte) {
	t.Helper()
	content := make([]byte, size)
	rand.Read(content)
	path := write(t, filepath.Join(t.TempDir(), "debian.qcow2"), content)
	a, err := NewArtifact(bg, ArtifactConfig{
		Type: "application/vnd.example.disk.v1", ConfigType: "application/vnd.example.disk.config.v1+json", Architecture: arch,
		Created: time.Unix(1e9, 0), Files: []File{{Path: path, Title: "debian.qcow2", MediaType: "application/x-qemu-disk"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a, content
}

// fetched gives what the only file of the artifact of that name holds.
func fetched(t *testing.T, name string, o ResolveOptions) ([]byte, error) {
	t.Helper()
	found, err := Find(bg, name, o)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := found.Artifact.Fetch(bg, 0, path, nil); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func TestAPushedDiskComesBackByteForByte(t *testing.T) {
	h := newFaulty(t, func(http.ResponseWriter, *http.Request) bool { return false })
	for _, size := range []int{0, 1, 3 << 20} {
		a, content := disk(t, "arm64", size)
		name := h.host + "/disk:1"
		if err := Push(bg, name, a, hasty); err != nil {
			t.Fatal(err)
		}
		o := hasty
		o.Architecture = "aarch64"
		got, err := fetched(t, name, o)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
		_, err = fetched(t, name, hasty)
		wantError(t, err, "cannot pull "+name, "it has linux/arm64; wanted linux/amd64")
	}
}

func TestWhatIsThereIsNotSentAgain(t *testing.T) {
	h := newFaulty(t, func(http.ResponseWriter, *http.Request) bool { return false })
	image := debian(t, "amd64")
	for range 2 {
		if err := Push(bg, h.host+"/debian:12", image, hasty); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.count("PATCH", "/"); n != 2 { // the layer and the config
		t.Errorf("%d blobs were sent", n)
	}
}

func TestAnIndexGivesEveryPlatformItsOwn(t *testing.T) {
	h := newFaulty(t, func(http.ResponseWriter, *http.Request) bool { return false })
	amd, arm := debian(t, "amd64"), debian(t, "arm64")
	x, err := NewIndex([]Content{amd, arm})
	if err != nil {
		t.Fatal(err)
	}
	if err := Push(bg, h.host+"/debian:12", x, hasty); err != nil {
		t.Fatal(err)
	}
	diskAmd, content := disk(t, "amd64", 1000)
	diskArm, _ := disk(t, "arm64", 1000)
	disks, err := NewIndex([]Content{diskArm, diskAmd})
	if err != nil {
		t.Fatal(err)
	}
	if err := Push(bg, h.host+"/disk:12", disks, hasty); err != nil {
		t.Fatal(err)
	}
	for arch, want := range map[string]*Image{"amd64": amd, "arm64": arm} {
		found, err := Find(bg, h.host+"/debian:12", ResolveOptions{Architecture: arch})
		if err != nil || found.Image == nil || found.Digest != want.Digest() {
			t.Errorf("%s: got %+v, %v", arch, found, err)
		}
	}
	if got, err := fetched(t, h.host+"/disk:12", hasty); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk of amd64: %d bytes, %v", len(got), err)
	}
	_, err = NewIndex([]Content{amd, amd})
	wantError(t, err, "two are for linux/amd64")
	_, err = NewIndex([]Content{amd, diskArm})
	wantError(t, err, "different kinds")
	_, err = NewIndex([]Content{x})
	wantError(t, err, "no platform")
}

func TestABusyRegistryIsAskedAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable} {
		var refusals atomic.Int32
		h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost && r.Method != http.MethodPut || refusals.Add(1) > 3 {
				return false
			}
			w.WriteHeader(status)
			return true
		})
		var notes []string
		var mu sync.Mutex
		o := hasty
		o.Note = func(text string) { mu.Lock(); notes = append(notes, text); mu.Unlock() }
		if err := Push(bg, h.host+"/debian:12", debian(t, "amd64"), o); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if len(notes) == 0 || !strings.Contains(notes[0], "trying again in") {
			t.Errorf("%d: the notes are %q", status, notes)
		}
		o.Retries = -1
		refusals.Store(0)
		err := Push(bg, h.host+"/debian:13", debian(t, "amd64"), o)
		wantError(t, err, "cannot push to "+h.host+"/debian:13")
	}
}

func TestALostConnectionIsNoHarm(t *testing.T) {
	var broken atomic.Int32
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || broken.Add(1) > 2 {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		panic(http.ErrAbortHandler)
	})
	a, content := disk(t, "amd64", 5<<20)
	var last int64
	o := hasty
	o.Progress = func(done, total int64) { last = done * 100 / total }
	if err := Push(bg, h.host+"/disk:1", a, o); err != nil {
		t.Fatal(err)
	}
	if last != 100 {
		t.Errorf("progress ended at %d percent", last)
	}
	if got, err := fetched(t, h.host+"/disk:1", hasty); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it came back as %d bytes, %v", len(got), err)
	}
}

func TestARegistryThatDiesLeavesNoTag(t *testing.T) {
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 100)
		panic(http.ErrAbortHandler)
	})
	a, _ := disk(t, "amd64", 5<<20)
	o := hasty
	o.Retries = 2
	err := Push(bg, h.host+"/disk:1", a, o)
	wantError(t, err, "cannot push to "+h.host+"/disk:1", "registry "+h.host)
	var unpushed *PushError
	if !errors.As(err, &unpushed) || unpushed.Ref != h.host+"/disk:1" {
		t.Errorf("the error is %#v", err)
	}
	if n := h.count("PUT", "/manifests/"); n > 0 {
		t.Errorf("%d manifests were pushed all the same", n)
	}
}

// resuming keeps what came of a broken upload and tells how much that is.
type resuming struct {
	mu     sync.Mutex
	bytes  []byte
	breaks int // how many more PATCHes break off
	resent []string
	inner  http.Handler
}

func (u *resuming) serve(w http.ResponseWriter, r *http.Request) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !strings.Contains(r.URL.Path, "/blobs/uploads/mine") && r.Method != http.MethodPost {
		return false
	}
	w.Header().Set("Location", "/v2/disk/blobs/uploads/mine?state=x")
	switch r.Method {
	case http.MethodPost:
		u.bytes = nil
		w.WriteHeader(http.StatusAccepted)
	case http.MethodGet:
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(u.bytes)-1))
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		if at := r.Header.Get("Content-Range"); at != "" {
			u.resent = append(u.resent, at)
		}
		if u.breaks > 0 {
			u.breaks--
			part, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			u.bytes = append(u.bytes, part...)
			panic(http.ErrAbortHandler)
		}
		rest, _ := io.ReadAll(r.Body)
		u.bytes = append(u.bytes, rest...)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		put, _ := http.NewRequest(http.MethodPost, "/v2/disk/blobs/uploads/?digest="+r.URL.Query().Get("digest"), bytes.NewReader(u.bytes))
		u.inner.ServeHTTP(w, put)
	}
	return true
}

func TestAnUploadGoesOnWhereItWas(t *testing.T) {
	u := &resuming{breaks: 4, inner: hubs.New(hubs.Logger(log.New(io.Discard, "", 0)))}
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !u.serve(w, r) {
			u.inner.ServeHTTP(w, r)
		}
		return true
	})
	a, content := disk(t, "amd64", 6<<20+17)
	o := hasty
	o.Retries = 1 // getting on resets the count
	repo, err := connect(bg, endpoint{ref: named{host: h.host, path: "disk", tag: "1"}}, o, "push,pull")
	if err != nil {
		t.Fatal(err)
	}
	p := a.parcel()
	blob := p.blobs[slices.IndexFunc(p.blobs, func(d v1Descriptor) bool { return d.Size > 1<<20 })]
	if err := repo.put(bg, p.from, blob, "", func(int) {}); err != nil {
		t.Fatal(err)
	}
	if len(u.resent) != 4 || u.resent[0] != fmt.Sprintf("%d-%d", 1<<20, len(content)-1) {
		t.Errorf("it went on at %q", u.resent)
	}
	if !bytes.Equal(u.bytes, content) {
		t.Error("what came together is not what was sent")
	}
}

func TestALayerOfTheBaseIsTakenOverInTheRegistry(t *testing.T) {
	var mounted atomic.Int32
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("from") != "base" {
			return false
		}
		mounted.Add(1)
		w.WriteHeader(http.StatusCreated)
		return true
	})
	if _, err := Resolve(bg, h.host+"/base:1", hasty); err == nil {
		t.Fatal("there is a base before it was pushed")
	}
	if err := Push(bg, h.host+"/base:1", debian(t, "amd64"), hasty); err != nil {
		t.Fatal(err)
	}
	base, err := Resolve(bg, h.host+"/base:1", hasty)
	if err != nil {
		t.Fatal(err)
	}
	image, err := Assemble(bg, base, []Layer{layerOf(t, item{name: "new", content: "x"})}, Config{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_ = Push(bg, h.host+"/ours:1", image, hasty) // this registry only says that it mounts
	if mounted.Load() == 0 {
		t.Error("nothing was mounted")
	}
}

func TestAChangedFileIsNotPushed(t *testing.T) {
	h := newFaulty(t, func(http.ResponseWriter, *http.Request) bool { return false })
	a, content := disk(t, "amd64", 1<<20)
	content[77] ^= 1
	write(t, a.Files()[0].Path, content)
	err := Push(bg, h.host+"/disk:1", a, hasty)
	wantError(t, err, "cannot push to", "damaged")
	if n := h.count("PUT", "/manifests/"); n > 0 {
		t.Error("it was pushed all the same")
	}
}

func TestARegistryThatChangesAManifestIsNotBelieved(t *testing.T) {
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		w.WriteHeader(http.StatusCreated)
		return true
	})
	wantError(t, Push(bg, h.host+"/debian:12", debian(t, "amd64"), hasty), "it changed it")
}

func TestAnEndedPushEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(bg)
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			cancel()
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	a, _ := disk(t, "amd64", 64<<20)
	begun := time.Now()
	if err := Push(ctx, h.host+"/disk:1", a, hasty); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestPlainHTTPLeavesTheMachineOnlyWhenToldSo(t *testing.T) {
	for host, want := range map[string]bool{"localhost:5000": true, "127.0.0.1:5000": true, "[::1]:5000": true, "10.0.0.1:5000": false, "registry.local": false, "example.org": false} {
		if got := isLoopback(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	quiet(t)
	r, err := transportTo("10.0.0.1:5000", false)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, "http://10.0.0.1:5000/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RoundTrip(req); !errors.Is(err, errPlain) {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorSaysWhichLoginWasUsed(t *testing.T) {
	h := newFaulty(t, func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	image := debian(t, "amd64")
	wantError(t, Push(bg, h.host+"/debian:12", image, hasty), "refuses access to debian without a login", "auth.json", "podman login "+h.host)
	secret := t.TempDir()
	file := func(name, password, form string) string {
		return write(t, filepath.Join(secret, name), fmt.Appendf(nil, form, h.host, password))
	}
	const config = `{"auths":{"https://%s/v1/":{"username":"me","password":%q}}}`
	wrong := file(".dockerconfigjson", "wrong", config)
	o := hasty
	o.AuthFile = secret
	wantError(t, Push(bg, h.host+"/debian:12", image, o), "with the login of me from "+wrong)
	wantError(t, CheckPush(bg, h.host+"/debian:12", o), "cannot push to", "with the login of me from "+wrong)
	file(".dockerconfigjson", "right", config)
	if err := CheckPush(bg, h.host+"/debian:12", o); err != nil {
		t.Error(err)
	}
	if err := Push(bg, h.host+"/debian:12", image, o); err != nil {
		t.Error(err)
	}
	t.Setenv(pullSecretsVariable, filepath.Join(secret, "absent")+":"+secret)
	if err := Push(bg, h.host+"/debian:13", image, hasty); err != nil {
		t.Errorf("a pull secret: %v", err)
	}
	old := write(t, filepath.Join(t.TempDir(), ".dockercfg"), fmt.Appendf(nil, `{%q:{"username":"me","password":"right"}}`, h.host))
	o.AuthFile = old
	if err := Push(bg, h.host+"/debian:14", image, o); err != nil {
		t.Errorf("an old secret: %v", err)
	}
	o.AuthFile = filepath.Join(secret, "absent.json")
	wantError(t, Push(bg, h.host+"/debian:12", image, o), "absent.json")
}

func TestAPatternOfASecretMeansHosts(t *testing.T) {
	f := authFile{Auths: map[string]login{"*.example.org": {Username: "a"}, "reg*.example.net/team": {Username: "b"}}}
	for key, want := range map[string]bool{"eu.example.org": true, "a.eu.example.org": false, "example.org": false, "reg1.example.net/team": true, "reg1.example.net": false} {
		if _, got := f.login(key); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
}
