package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var created = time.Date(2024, 2, 29, 12, 0, 0, 0, time.FixedZone("", 3600))

// onDebian assembles an image on a base that came from a registry.
func onDebian(t *testing.T, c Config, layers ...Layer) (*Base, *Image) {
	t.Helper()
	quiet(t)
	h := newHub(t, httptest.NewServer)
	if err := Push(bg, h.host+"/debian:12", debian(t, "amd64"), ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	base := resolved(t, h.host+"/debian:12", ResolveOptions{})
	if err := base.Fetch(bg, t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	c.TempDir = t.TempDir()
	image, err := Assemble(bg, base, layers, c)
	if err != nil {
		t.Fatal(err)
	}
	return base, image
}

func TestABasesLayersKeepTheirDigests(t *testing.T) {
	base, image := onDebian(t, Config{Created: created, Labels: map[string]string{"org.opencontainers.image.title": "mine", "team": "ours"}},
		layerOf(t, item{name: "one", content: "1"}), layerOf(t), layerOf(t, item{name: "two", content: "2"}))
	validImage(t, image)
	layers := image.Layers()
	if len(layers) != 3 || layers[0] != base.Layers()[0] {
		t.Fatalf("the layers are %+v", layers)
	}
	for _, l := range layers[1:] {
		if l.MediaType != "application/vnd.oci.image.layer.v1.tar+zstd" {
			t.Errorf("a layer is %+v", l)
		}
	}
	c := image.config
	if c.Architecture != "amd64" || c.OS != "linux" || !c.Created.Equal(created) || !slices.Equal(c.Config.Cmd, []string{"/bin/sh"}) {
		t.Errorf("the config is %+v", c)
	}
	empty := 0
	for _, h := range c.History {
		if h.EmptyLayer {
			empty++
		}
	}
	if len(c.History) != 4 || empty != 1 {
		t.Errorf("the history is %+v", c.History)
	}
	want := map[string]string{
		"org.opencontainers.image.title": "mine", "org.opencontainers.image.created": "2024-02-29T11:00:00Z",
		"org.opencontainers.image.base.name": base.Ref(), "org.opencontainers.image.base.digest": base.Digest(), "team": "ours",
	}
	for key, value := range want {
		if image.Labels()[key] != value {
			t.Errorf("label %s is %q, not %q", key, image.Labels()[key], value)
		}
		if got := image.manifest.Annotations[key]; got != value && key != "team" {
			t.Errorf("annotation %s is %q, not %q", key, got, value)
		}
	}
	if _, ok := image.manifest.Annotations["team"]; ok {
		t.Error("a label of the user's own became an annotation")
	}
}

func TestAConfigOverrulesTheBases(t *testing.T) {
	_, image := onDebian(t, Config{Env: []string{"A=b"}, Entrypoint: []string{"/init"}, Cmd: []string{"x"}, WorkingDir: "/w", Author: "me", Architecture: "armhf"})
	c := image.config
	if fmt.Sprintf("%v %v %v %s %s %s", c.Config.Env, c.Config.Entrypoint, c.Config.Cmd, c.Config.WorkingDir, c.Author, image.Platform()) != "[A=b] [/init] [x] /w me linux/arm/v7" {
		t.Errorf("the config is %+v", c)
	}
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	var words bytes.Buffer
	for n := range 200000 {
		fmt.Fprintf(&words, "%d %x\n", n, n*n)
	}
	layer := layerOf(t, item{name: "words", content: words.String()})
	for _, gz := range []bool{false, true} {
		var first [][]byte
		for _, cpus := range []int{1, runtime.NumCPU() + 1} {
			before := runtime.GOMAXPROCS(cpus)
			image := build(t, Config{Created: created, Gzip: gz, Architecture: "amd64"}, layer)
			runtime.GOMAXPROCS(before)
			var archive, docker bytes.Buffer
			if err := image.WriteOCIArchive(bg, &archive, "x"); err != nil {
				t.Fatal(err)
			}
			if err := image.WriteDockerArchive(bg, &docker, "x"); err != nil {
				t.Fatal(err)
			}
			got := [][]byte{archive.Bytes(), docker.Bytes()}
			if first == nil {
				first = got
			}
			for n := range got {
				if !bytes.Equal(first[n], got[n]) {
					t.Errorf("gzip %v: archive %d differs between runs", gz, n)
				}
			}
		}
	}
}

func TestACutTarIsRefused(t *testing.T) {
	whole := tarOf(t, item{name: "a", content: strings.Repeat("a", 1000)}, item{name: "b", content: "b"})
	dir := t.TempDir()
	for _, length := range []int{1, 511, 512, 700, 512 + 1024, 3 * 512, len(whole) - 1024, len(whole) - 512, len(whole) - 1} {
		_, err := Assemble(bg, nil, []Layer{{Tar: write(t, filepath.Join(dir, "l.tar"), whole[:length])}}, Config{TempDir: dir})
		if err == nil {
			t.Errorf("a tar cut to %d of %d bytes was taken", length, len(whole))
		} else {
			wantError(t, err, "l.tar")
		}
	}
	if left, _ := filepath.Glob(dir + "/layer-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Assemble(bg, nil, []Layer{{Tar: filepath.Join(dir, "l.tar")}}, Config{TempDir: dir}); err == nil {
		t.Error("a damaged tar was taken")
	}
	write(t, filepath.Join(dir, "l.tar"), append(whole, make([]byte, 8192)...)) // GNU tar pads to 10 KiB
	if _, err := Assemble(bg, nil, []Layer{{Tar: filepath.Join(dir, "l.tar")}}, Config{TempDir: dir}); err != nil {
		t.Error(err)
	}
}

func TestAnImageOfNothingIsRefused(t *testing.T) {
	_, err := Assemble(bg, nil, []Layer{layerOf(t)}, Config{TempDir: t.TempDir()})
	wantError(t, err, "no layer holds anything")
}

func TestABaseWithoutHistoryGetsOne(t *testing.T) {
	base := &Base{ref: "docker.io/library/debian:12", image: debian(t, "amd64")}
	base.image.config.History = []v1.History{{CreatedBy: "x", EmptyLayer: true}}
	image, err := Assemble(bg, base, []Layer{layerOf(t, item{name: "a"})}, Config{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if h := image.config.History; len(h) != 2 || h[0].CreatedBy != "layer of docker.io/library/debian:12" || h[0].EmptyLayer {
		t.Errorf("the history is %+v", h)
	}
	base.image.manifest.Layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	_, err = Assemble(bg, base, nil, Config{TempDir: t.TempDir()})
	wantError(t, err, "foreign")
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	_, image := onDebian(t, Config{Created: created}, layerOf(t, item{name: "new", content: "new"}))
	dir := t.TempDir()
	oci, docker := filepath.Join(dir, "oci.tar"), filepath.Join(dir, "docker.tar")
	save(t, oci, func(w io.Writer) error { return image.WriteOCIArchive(bg, w, "mine") })
	save(t, docker, func(w io.Writer) error { return image.WriteDockerArchive(bg, w, "mine") })
	for _, name := range []string{"oci-archive:" + oci, "oci-archive:" + oci + ":mine"} {
		b := resolved(t, name, ResolveOptions{})
		if b.Digest() != image.Digest() {
			t.Errorf("%s has the digest %s", name, b.Digest())
		}
		validImage(t, b.Image())
	}
	for _, name := range []string{"docker-archive:" + docker, "docker-archive:" + docker + ":mine:latest", "docker-archive:" + docker + ":mine"} {
		b := resolved(t, name, ResolveOptions{})
		for n, l := range b.Layers() {
			if l.DiffID != image.Layers()[n].DiffID {
				t.Errorf("%s has the layer %+v", name, l)
			}
		}
		if _, err := b.Image().Tars(bg, t.TempDir()); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"oci-archive:" + oci + ":other", "docker-archive:" + docker + ":other"} {
		_, err := Resolve(bg, name, ResolveOptions{})
		wantError(t, err, "no image other")
	}
	wantError(t, image.WriteDockerArchive(bg, io.Discard, "A b"), `"A b"`)
	wantError(t, image.WriteOCIArchive(bg, io.Discard, "a b"), `"a b"`)
}

func save(t *testing.T, name string, writeTo func(io.Writer) error) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTarsAreTheLayersUncompressed(t *testing.T) {
	one, two := layerOf(t, item{name: "a", content: "1"}), layerOf(t, item{name: "a", content: "2"})
	image := build(t, Config{}, one, two)
	dir := t.TempDir()
	for range 2 {
		files, err := image.Tars(bg, dir)
		if err != nil || len(files) != 2 {
			t.Fatal(files, err)
		}
		for n, l := range []Layer{one, two} {
			want, _ := os.ReadFile(l.Tar)
			if got, err := os.ReadFile(files[n]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("layer %d differs, %v", n, err)
			}
		}
	}
}

func TestSkopeoReadsWhatIsWritten(t *testing.T) {
	skopeo := need(t, "skopeo")
	_, image := onDebian(t, Config{Created: created, Gzip: true}, layerOf(t, item{name: "new", content: "new"}))
	_, packed := onDebian(t, Config{Created: created}, layerOf(t, item{name: "new", content: "new"}))
	dir := t.TempDir()
	for n, i := range []*Image{image, packed} {
		oci, docker := filepath.Join(dir, fmt.Sprint(n, "oci.tar")), filepath.Join(dir, fmt.Sprint(n, "docker.tar"))
		save(t, oci, func(w io.Writer) error { return i.WriteOCIArchive(bg, w, "mine") })
		save(t, docker, func(w io.Writer) error { return i.WriteDockerArchive(bg, w, "mine:1") })
		for _, name := range []string{"oci-archive:" + oci + ":mine", "docker-archive:" + docker + ":mine:1"} {
			var seen struct {
				Architecture string
				Layers       []string
				Labels       map[string]string
			}
			if err := json.Unmarshal([]byte(run(t, skopeo, "inspect", name)), &seen); err != nil {
				t.Fatal(err)
			}
			if seen.Architecture != "amd64" || len(seen.Layers) != 2 || seen.Labels["org.opencontainers.image.created"] != "2024-02-29T11:00:00Z" {
				t.Errorf("%s: skopeo sees %+v", name, seen)
			}
			// A copy checks every digest.
			run(t, skopeo, "copy", "--insecure-policy", name, "dir:"+t.TempDir())
		}
	}
	// A digest that is not the content's must be noticed by this judge.
	broken := filepath.Join(dir, "broken")
	if err := image.WriteLayout(bg, broken, "x"); err != nil {
		t.Fatal(err)
	}
	write(t, layout{dir: broken}.blob(image.manifest.Config.Digest), []byte("{}"))
	if out := tryRun(skopeo, "copy", "--insecure-policy", "oci:"+broken+":x", "dir:"+t.TempDir()); out == "" {
		t.Error("skopeo took a layout with a wrong digest")
	}
}
