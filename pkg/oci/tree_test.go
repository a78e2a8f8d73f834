package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// stored is a layer as an image has it.
type stored struct {
	kind types.MediaType
	blob []byte
	tar  []byte // what the config says of it
}

func plain(tar []byte) stored { return stored{types.OCIUncompressedLayer, tar, tar} }

func gzipped(t testing.TB, tar []byte) stored {
	t.Helper()
	var b bytes.Buffer
	for _, part := range [][]byte{tar[:len(tar)/2], tar[len(tar)/2:]} { // two members
		w := gzip.NewWriter(&b)
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return stored{types.OCILayer, b.Bytes(), tar}
}

// chunked is a layer as zstd:chunked has it: frames for each part, and frames
// with what else it says, which are skipped.
func chunked(t testing.TB, tar []byte) stored {
	t.Helper()
	b := []byte("\x5a\x2a\x4d\x18\x04\x00\x00\x00skip")
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{tar[:100], tar[100 : len(tar)-7], tar[len(tar)-7:]} {
		b = e.EncodeAll(part, b)
	}
	b = append(b, "\x50\x2a\x4d\x18\x08\x00\x00\x00manifest"...)
	return stored{types.OCILayerZStd, b, tar}
}

// layoutOf writes an image layout of the layers and gives its folder.
func layoutOf(t testing.TB, layers ...stored) string {
	t.Helper()
	l := layout{dir: filepath.Join(t.TempDir(), "layout")}
	if err := l.create(); err != nil {
		t.Fatal(err)
	}
	put := func(b []byte, kind types.MediaType) v1.Descriptor {
		d, err := describe(b, kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.blob(d.Digest), b, 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := v1.ConfigFile{Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"}}
	for _, s := range layers {
		m.Layers = append(m.Layers, put(s.blob, s.kind))
		diff, err := describe(s.tar, "")
		if err != nil {
			t.Fatal(err)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diff.Digest)
	}
	raw, _, err := encode(config, types.OCIConfigJSON)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = put(raw, types.OCIConfigJSON)
	if raw, _, err = encode(m, m.MediaType); err != nil {
		t.Fatal(err)
	}
	d := put(raw, m.MediaType)
	if err := l.update(func(list []v1.Descriptor) []v1.Descriptor { return append(list, d) }); err != nil {
		t.Fatal(err)
	}
	return l.dir
}

func opened(t testing.TB, name string) *Image {
	t.Helper()
	i, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func twoLayers(t *testing.T) (low, high []byte, want map[string]string) {
	low = tarOf(t, item{name: "dev/"}, item{name: "dev/null"}, item{name: "etc/"}, item{name: "etc/a", content: "low"}, item{name: "etc/b", content: "gone"}, item{name: "var/cache/x"})
	high = tarOf(t, item{name: "etc/"}, item{name: "etc/a", content: "high"}, item{name: "etc/.wh.b"}, item{name: "etc/c", link: "hard:etc/a"})
	return low, high, map[string]string{
		"/dev": "dir 0755 0:0 @1000000000", "/etc": "dir 0755 0:0 @1000000000", "/etc/a": "file 0644 0:0 @1000000000 high",
		"/etc/c": "link /etc/a", "/var/cache": "dir 0755 0:0",
	}
}

func wantTree(t *testing.T, i *Image, cache string, want map[string]string) {
	t.Helper()
	var done, total int64
	tr, files, err := i.Tree(bg, cache, TreeOptions{Empty: []string{"/var/cache"}, Progress: func(d, of int64) { done, total = d, of }})
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, tr, want)
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	if _, err := tr.ReadFile("/etc/a", 10); err == nil {
		t.Error("the tree can be read after its files were closed")
	}
}

func TestPlainLayersAreReadWhereTheyLie(t *testing.T) {
	low, high, want := twoLayers(t)
	dir := layoutOf(t, plain(low), plain(high), plain(high))
	image := opened(t, "oci:"+dir)
	wantTree(t, image, "", want)

	archives := t.TempDir()
	oci, docker := filepath.Join(archives, "oci.tar"), filepath.Join(archives, "docker.tar")
	save(t, oci, func(w io.Writer) error { return image.WriteOCIArchive(bg, w, "x") })
	save(t, docker, func(w io.Writer) error { return image.WriteDockerArchive(bg, w, "x") })
	wantTree(t, opened(t, "oci-archive:"+oci), "", want)
	wantTree(t, opened(t, "docker-archive:"+docker), "", want)
}

func TestPackedLayersAreUnpackedOnce(t *testing.T) {
	low, high, want := twoLayers(t)
	lying := gzipped(t, low)
	lying.kind = types.OCIUncompressedLayer // media types are not always right
	for what, layers := range map[string][]stored{
		"gzip":         {gzipped(t, low), gzipped(t, high)},
		"zstd:chunked": {chunked(t, low), chunked(t, high)},
		"mixed":        {plain(low), chunked(t, high)},
		"lying":        {lying, plain(high)},
		"repeated":     {gzipped(t, low), gzipped(t, high), gzipped(t, high), chunked(t, high)},
	} {
		dir, cache := layoutOf(t, layers...), filepath.Join(t.TempDir(), "cache")
		image := opened(t, "oci:"+dir)
		_, _, err := image.Tree(bg, "", TreeOptions{})
		wantError(t, err, "compressed", "no cache")
		wantTree(t, image, cache, want)
		for n, d := range image.manifest.Layers {
			if layers[n].kind != types.OCIUncompressedLayer || what == "lying" && n == 0 {
				if err := os.Remove(layout{dir: dir}.blob(d.Digest)); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		if what == "lying" || what == "repeated" || what == "mixed" {
			continue
		}
		// What is in the cache is not asked for again, but for the look at how it lies.
		if _, err := image.Tars(bg, cache); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSkopeosZstdChunkedIsRead(t *testing.T) {
	skopeo := need(t, "skopeo")
	low, high, want := twoLayers(t)
	dir, to := layoutOf(t, plain(low), plain(high)), t.TempDir()
	for _, format := range []string{"gzip", "zstd", "zstd:chunked"} {
		if out := tryRun(skopeo, "copy", "--insecure-policy", "--dest-compress", "--dest-compress-format", format, "oci:"+dir, "oci:"+filepath.Join(to, format[:4])+":"+format[len(format)-3:]); out != "" {
			t.Logf("skopeo cannot write %s: %s", format, out)
			continue
		}
		image := opened(t, "oci:"+filepath.Join(to, format[:4])+":"+format[len(format)-3:])
		if k := image.Layers()[0].MediaType; !strings.HasSuffix(k, format[:4]) {
			t.Errorf("%s: the layer is of type %s", format, k)
		}
		wantTree(t, image, t.TempDir(), want)
	}
}

func TestDamagedAndLyingLayersGiveNoTree(t *testing.T) {
	low, high, _ := twoLayers(t)
	flipped := bytes.Clone(low)
	flipped[600] ^= 1
	xz := stored{types.OCILayer, []byte("\xfd7zXZ\x00 and so on"), low}
	cut := gzipped(t, low)
	cut.blob = cut.blob[:len(cut.blob)-4]
	for what, c := range map[string]struct {
		layer stored
		want  string
	}{
		"another plain tar":       {stored{types.OCIUncompressedLayer, low, high}, "the image's config says"},
		"another packed tar":      {stored{types.OCILayer, gzipped(t, low).blob, high}, "the image's config says"},
		"xz":                      {xz, "compressed by xz"},
		"a cut":                   {cut, "unexpected EOF"},
		"damage within":           {stored{types.OCILayerZStd, append(chunked(t, low).blob[:60], 0xff), low}, "cannot unpack layer"},
		"no tar":                  {plain(bytes.Repeat([]byte("text"), 400)), "reading layer 1 (sha256:"},
		"a foreign layer":         {stored{types.DockerForeignLayer, low, low}, "layer 1 is of type application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
		"a layer not to be given": {stored{types.OCIRestrictedLayer, low, low}, "nondistributable"},
		"an encrypted layer":      {stored{"application/vnd.oci.image.layer.v1.tar+encrypted", low, low}, "tar+encrypted"},
	} {
		cache := t.TempDir()
		_, _, err := opened(t, "oci:"+layoutOf(t, c.layer)).Tree(bg, cache, TreeOptions{})
		if err == nil {
			t.Errorf("%s is read", what)
			continue
		}
		wantError(t, err, c.want)
		if left, _ := os.ReadDir(cache); len(left) > 0 {
			t.Errorf("%s leaves %v behind", what, left)
		}
	}
	for what, spoil := range map[string]func([]byte) []byte{
		"damaged": func([]byte) []byte { return flipped },
		"longer":  func(b []byte) []byte { return append(b, 0) },
		"short":   func(b []byte) []byte { return b[:len(b)-1] },
	} {
		dir := layoutOf(t, plain(bytes.Clone(low)))
		image := opened(t, "oci:"+dir)
		write(t, layout{dir: dir}.blob(image.manifest.Layers[0].Digest), spoil(bytes.Clone(low)))
		_, _, err := image.Tree(bg, "", TreeOptions{})
		wantError(t, err, what)
	}
}

func TestWhatUnpacksToTooMuchIsRefused(t *testing.T) {
	big := tarOf(t, item{name: "zeros", content: strings.Repeat("\x00", 8<<20)})
	image := opened(t, "oci:"+layoutOf(t, gzipped(t, big), gzipped(t, tarOf(t, item{name: "x"}))))
	cache := t.TempDir()
	_, _, err := image.Tree(bg, cache, TreeOptions{MaxUnpacked: 4 << 20})
	wantError(t, err, "unpack to more than 4194304 bytes")
	if left, _ := filepath.Glob(cache + "/" + partialPrefix + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, files, err := image.Tree(bg, cache, TreeOptions{MaxUnpacked: 9 << 20}); err != nil {
		t.Error(err)
	} else if err := files.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	big := tarOf(t, item{name: "words", content: strings.Repeat("some words ", 1<<20)})
	for what, s := range map[string]stored{"plain": plain(big), "gzip": gzipped(t, big), "zstd": chunked(t, big)} {
		image := opened(t, "oci:"+layoutOf(t, s))
		ctx, cancel := context.WithCancel(bg)
		cache := t.TempDir()
		_, _, err := image.Tree(ctx, cache, TreeOptions{Progress: func(int64, int64) { cancel() }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error is %v", what, err)
		}
		if left, _ := os.ReadDir(cache); len(left) > 0 {
			t.Errorf("%s leaves %v behind", what, left)
		}
	}
}

func TestWhatAKilledUnpackingLeftIsSwept(t *testing.T) {
	low, _, _ := twoLayers(t)
	cache := t.TempDir()
	left := write(t, filepath.Join(cache, partialPrefix+"1"), []byte("half"))
	if _, err := opened(t, "oci:"+layoutOf(t, gzipped(t, low))).Tars(bg, cache); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the leftover is still there")
	}
}

func TestTarsUnusedForLongAreForgotten(t *testing.T) {
	low, high, _ := twoLayers(t)
	cache := t.TempDir()
	old := time.Now().Add(-unusedTars - time.Hour)
	tars := func(layer []byte) []string {
		t.Helper()
		out, err := opened(t, "oci:"+layoutOf(t, gzipped(t, layer))).Tars(bg, cache)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first, other := tars(low)[0], write(t, filepath.Join(cache, "of-another.tar"), nil)
	for _, file := range []string{first, other} {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	second := tars(high)[0]
	for file, want := range map[string]bool{first: false, second: true, other: true} {
		if _, err := os.Stat(file); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", file, err == nil, want)
		}
	}
	if err := os.Chtimes(second, old.Add(2*time.Hour), old.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	tars(high)
	if st, err := os.Stat(second); err != nil || time.Since(st.ModTime()) > time.Hour {
		t.Errorf("its use is not told by its time: %v", err)
	}
}

func TestWhatIsNoImageIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	for kind, want := range map[string]string{
		"application/vnd.docker.distribution.manifest.v1+prettyjws": "docker's first schema",
		"application/vnd.cncf.helm.chart":                           "it is of type application/vnd.cncf.helm.chart, which is no image",
	} {
		write(t, filepath.Join(dir, "index.json"), fmt.Appendf(nil, `{"manifests":[{"mediaType":%q,"digest":"sha256:%064d","size":2}]}`, kind, 0))
		_, err := Open("oci:" + dir)
		wantError(t, err, want)
	}
	l := layout{dir: layoutOf(t)}
	artifact := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.example","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
	d, err := describe([]byte(artifact), types.OCIManifestSchema1)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l.blob(d.Digest), []byte(artifact))
	write(t, filepath.Join(l.dir, "index.json"), fmt.Appendf(nil, `{"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, d.MediaType, d.Digest, d.Size))
	_, err = Open("oci:" + l.dir)
	wantError(t, err, "is no image: its config is of type application/vnd.oci.empty.v1+json")
}

func TestTheConfigIsReadable(t *testing.T) {
	c := Config{Architecture: "amd64", Created: created.UTC(), Author: "me", Env: []string{"A=b"}, Cmd: []string{"/bin/sh"}, Entrypoint: []string{"/init"}, WorkingDir: "/w", Labels: map[string]string{"x": "y"}}
	got := build(t, c, layerOf(t, item{name: "x"})).Config()
	delete(got.Labels, "org.opencontainers.image.created")
	if fmt.Sprint(got) != fmt.Sprint(c) {
		t.Errorf("it is %+v", got)
	}
}

func TestATreeOfABuiltImageIsRead(t *testing.T) {
	_, image := onDebian(t, Config{}, layerOf(t, item{name: "etc/"}, item{name: "etc/.wh.hostname"}, item{name: "new", content: "x"}))
	tr, files, err := image.Tree(bg, t.TempDir(), TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if b, err := tr.ReadFile("/etc/os-release", 100); err != nil || string(b) != "ID=debian\nARCH=amd64\n" {
		t.Errorf("%q, %v", b, err)
	}
	if tr.Lookup("/etc/hostname") != nil || tr.Lookup("/new") == nil {
		t.Error("the upper layer is not there")
	}
}

func TestAssemblingAndWritingEndWithTheirContext(t *testing.T) {
	l := layerOf(t, item{name: "words", content: strings.Repeat("some words ", 1<<18)})
	image := build(t, Config{}, l)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	dir := t.TempDir()
	if _, err := Assemble(ctx, nil, []Layer{l}, Config{TempDir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("assembling: the error is %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("assembling leaves %v behind", left)
	}
	if err := image.WriteLayout(ctx, filepath.Join(dir, "layout"), "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("writing: the error is %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "layout/blobs/sha256/*")); len(left) > 0 {
		t.Errorf("writing leaves %v behind", left)
	}
	if err := image.WriteOCIArchive(ctx, io.Discard, "x"); err != context.Canceled {
		t.Errorf("the OCI archive: the error is %v", err)
	}
	if err := image.WriteDockerArchive(ctx, io.Discard, "x"); err != context.Canceled {
		t.Errorf("the docker archive: the error is %v", err)
	}
	if _, _, _, err := image.dockerLayer(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("measuring a zstd layer: the error is %v", err)
	}
}
