package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func resolved(t *testing.T, name string, o ResolveOptions) *Base {
	t.Helper()
	if o.Architecture == "" {
		o.Architecture = "amd64"
	}
	b, err := Resolve(bg, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func validImage(t *testing.T, i *Image) {
	t.Helper()
	img, err := i.remoteable()
	if err != nil {
		t.Fatal(err)
	}
	var o []validate.Option
	for _, l := range i.Layers() {
		if l.MediaType == string(types.OCILayerZStd) {
			o = append(o, validate.Fast) // it takes every layer for gzip
		}
	}
	if err := validate.Image(img, o...); err != nil {
		t.Error(err)
	}
	if _, err := i.Tars(bg, t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestWhatWasFetchedIsNotFetchedAgain(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	image := debian(t, "amd64")
	h.pushIndex(t, "debian:12", image, debian(t, "arm64"))
	dir := filepath.Join(t.TempDir(), "cache")
	name := h.host + "/debian:12"

	b := resolved(t, name, ResolveOptions{Cache: dir})
	var last, total int64
	if err := b.Fetch(bg, dir, func(d, of int64) { last, total = d, of }); err != nil {
		t.Fatal(err)
	}
	if last != total || total < image.Layers()[0].Size {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	validImage(t, b.Image())
	if n := h.asked("/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched", n)
	}
	again := resolved(t, name, ResolveOptions{Cache: dir})
	if err := again.Fetch(bg, dir, nil); err != nil {
		t.Fatal(err)
	}
	if n := h.asked("/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched in all", n)
	}
	index, err := layout{dir: dir}.index()
	if err != nil || len(index.Manifests) != 1 {
		t.Errorf("the index holds %+v, %v", index, err)
	}

	h.Close()
	offline := resolved(t, name, ResolveOptions{Cache: dir, Offline: true})
	if offline.Digest() != image.Digest() || offline.Ref() != b.Ref() {
		t.Errorf("offline it is %s at %s", offline.Ref(), offline.Digest())
	}
	if err := offline.Fetch(bg, dir, nil); err != nil {
		t.Error(err)
	}
	_, err = Resolve(bg, name, ResolveOptions{Cache: dir, Offline: true, Architecture: "arm64"})
	wantError(t, err, "linux/arm64 is not in the cache "+dir)
	_, err = Resolve(bg, h.host+"/debian:13", ResolveOptions{Cache: dir, Offline: true, Architecture: "amd64"})
	wantError(t, err, "is not in the cache")

	if err := os.Remove(layout{dir: dir}.blob(image.manifest.Layers[0].Digest)); err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(bg, name, ResolveOptions{Cache: dir, Offline: true, Architecture: "amd64"})
	wantError(t, err, "is not in the cache")
}

func TestAPinnedImageNeedsNoNetworkOnceFetched(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	image := debian(t, "amd64")
	if err := Push(bg, h.host+"/debian:12", image, ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pinned := h.host + "/debian@" + image.Digest()
	if err := resolved(t, pinned, ResolveOptions{Cache: dir}).Fetch(bg, dir, nil); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if b := resolved(t, pinned, ResolveOptions{Cache: dir}); b.Digest() != image.Digest() {
		t.Errorf("it is %s", b.Digest())
	}
}

func TestAMovedTagLeavesTheOldImageReadable(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	dir := t.TempDir()
	name := h.host + "/debian:12"
	var refs []string
	for _, text := range []string{"one", "two"} {
		image := build(t, Config{Architecture: "amd64"}, layerOf(t, item{name: "version", content: text}))
		if err := Push(bg, name, image, ResolveOptions{}); err != nil {
			t.Fatal(err)
		}
		b := resolved(t, name, ResolveOptions{Cache: dir})
		if err := b.Fetch(bg, dir, nil); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, b.Transport(dir))
		if offline := resolved(t, name, ResolveOptions{Cache: dir, Offline: true}); offline.Digest() != image.Digest() {
			t.Errorf("the name means %s, not %s", offline.Digest(), image.Digest())
		}
	}
	for _, ref := range refs {
		if _, err := Open(ref); err != nil {
			t.Error(err)
		}
	}
	skopeo := need(t, "skopeo")
	for _, ref := range refs {
		run(t, skopeo, "inspect", "--raw", ref)
	}
}

func TestBuildsMayFetchAtTheSameTime(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	h.pushIndex(t, "debian:12", debian(t, "amd64"), debian(t, "arm64"))
	dir := t.TempDir()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			b, err := Resolve(bg, h.host+"/debian:12", ResolveOptions{Architecture: []string{"amd64", "arm64"}[n%2], Cache: dir})
			if err == nil {
				err = b.Fetch(bg, dir, nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	index, err := layout{dir: dir}.index()
	if err != nil || len(index.Manifests) != 2 {
		t.Errorf("the index holds %d images, %v", len(index.Manifests), err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		validImage(t, resolved(t, h.host+"/debian:12", ResolveOptions{Architecture: arch, Cache: dir, Offline: true}).Image())
	}
	if left, _ := filepath.Glob(dir + "/blobs/sha256/" + partialPrefix + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWhatAKilledFetchLeftIsSwept(t *testing.T) {
	dir := t.TempDir()
	l := layout{dir: dir}
	if err := l.create(); err != nil {
		t.Fatal(err)
	}
	old := write(t, filepath.Join(dir, "blobs/sha256", partialPrefix+"1"), []byte("half"))
	busy, release := make(chan bool), make(chan bool)
	done := make(chan error)
	content := []byte("whole")
	d, err := describe(content, "")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		slow := io.MultiReader(readerFunc(func([]byte) (int, error) { close(busy); <-release; return 0, io.EOF }), bytes.NewReader(content))
		done <- l.put(bg, oneBlob{slow}, d, func(int) {})
	}()
	<-busy
	if err := l.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the leftover is still there")
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("a living writer was disturbed: %v", err)
	}
	if !l.has(d) {
		t.Error("the blob is not there")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type oneBlob struct{ r io.Reader }

func (b oneBlob) open(v1.Descriptor) (io.ReadCloser, error) { return io.NopCloser(b.r), nil }

func TestAnInterruptedFetchEndsAndCleansUp(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	if err := Push(bg, h.host+"/debian:12", debian(t, "amd64"), ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	b := resolved(t, h.host+"/debian:12", ResolveOptions{})
	ctx, cancel := context.WithCancel(bg)
	dir := t.TempDir()
	h.tamper = func(path string, body []byte) []byte {
		if strings.Contains(path, "/blobs/") {
			cancel()
		}
		return body
	}
	if err := b.Fetch(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if left, _ := filepath.Glob(dir + "/blobs/sha256/" + partialPrefix + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
		t.Error("a half image is in the index")
	}
}

func TestACacheWithAColonIsRefused(t *testing.T) {
	l := filepath.Join(t.TempDir(), "a:b")
	b := &Base{name: "debian", ref: "docker.io/library/debian:12", image: debian(t, "amd64")}
	wantError(t, b.Fetch(bg, l, nil), "colon")
}
