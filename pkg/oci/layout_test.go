package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLayoutsHoldImagesByNameAndDigest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	one, two := debian(t, "amd64"), build(t, Config{Architecture: "amd64"}, layerOf(t, item{name: "other"}))
	for tag, image := range map[string]*Image{"one": one, "two": two} {
		if err := image.WriteLayout(bg, dir, tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.WriteLayout(bg, dir, "two"); err != nil { // again
		t.Fatal(err)
	}
	for name, want := range map[string]*Image{":one": one, ":two": two, "@" + one.Digest(): one} {
		b := resolved(t, "oci:"+dir+name, ResolveOptions{})
		if b.Digest() != want.Digest() || b.Ref() != "oci:"+dir+name {
			t.Errorf("%s: got %s at %s", name, b.Ref(), b.Digest())
		}
		validImage(t, b.Image())
	}
	_, err := Resolve(bg, "oci:"+dir, ResolveOptions{Architecture: "amd64"})
	wantError(t, err, "2 images", ":TAG")
	_, err = Resolve(bg, "oci:"+dir+":three", ResolveOptions{Architecture: "amd64"})
	wantError(t, err, "no image three", "one", "two")
	_, err = Resolve(bg, "oci:"+dir+":one", ResolveOptions{Architecture: "arm64"})
	wantError(t, err, "it has linux/amd64; wanted linux/arm64")

	skopeo := need(t, "skopeo")
	run(t, skopeo, "inspect", "oci:"+dir+":one")
	run(t, skopeo, "copy", "--insecure-policy", "oci:"+dir+":one", "oci-archive:"+dir+".tar:copied")
	b := resolved(t, "oci-archive:"+dir+".tar:copied", ResolveOptions{})
	if b.Layers()[0] != one.Layers()[0] {
		t.Errorf("skopeo's copy has the layer %+v", b.Layers()[0])
	}
}

func TestAFolderOfOtherThingsIsNotWrittenInto(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "precious"), []byte("x"))
	wantError(t, debian(t, "amd64").WriteLayout(bg, dir, "x"), "not empty")
	wantError(t, debian(t, "amd64").WriteLayout(bg, filepath.Join(dir, "new"), "a b"), `"a b"`)
}

// An index within a layout's index, as buildx and `skopeo copy --all` write it.
func TestAnIndexInALayoutIsFollowed(t *testing.T) {
	dir := t.TempDir()
	l := layout{dir: dir}
	images := []*Image{debian(t, "amd64"), debian(t, "arm64")}
	inner := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`
	for n, i := range images {
		if err := i.WriteLayout(bg, dir, ""); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(descriptorFor(i, ""))
		if err != nil {
			t.Fatal(err)
		}
		inner += strings.Repeat(",", n) + string(b)
	}
	inner += "]}"
	d, err := describe([]byte(inner), "application/vnd.oci.image.index.v1+json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, l.blob(d.Digest), []byte(inner))
	outer := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, d.MediaType, d.Digest, d.Size)
	write(t, filepath.Join(dir, "index.json"), []byte(outer))
	for _, i := range images {
		b := resolved(t, "oci:"+dir, ResolveOptions{Architecture: i.config.Architecture})
		if b.Digest() != i.Digest() || b.Ref() != "oci:"+dir+"@"+i.Digest() {
			t.Errorf("got %s", b.Ref())
		}
	}
	// An index that names itself would never end.
	endless := strings.Replace(outer, d.Digest.String(), "sha256:"+strings.Repeat("0", 64), 1)
	write(t, filepath.Join(dir, "index.json"), []byte(endless))
	_, err = Resolve(bg, "oci:"+dir, ResolveOptions{})
	wantError(t, err, "no such file")
}

func TestDamagedLayoutsAreRefused(t *testing.T) {
	cases := []struct {
		what   string
		spoil  func(b []byte) []byte
		want   string
		reason string
	}{
		{"layer", func(b []byte) []byte { b[len(b)-9] ^= 1; return b }, "", "one bit"},
		{"layer", func(b []byte) []byte { return b[:len(b)-1] }, "cut short", "a byte less"},
		{"layer", func(b []byte) []byte { return append(b, 0) }, "longer", "a byte more"},
		{"config", func(b []byte) []byte { b[10] ^= 1; return b }, "damaged", "one bit"},
		{"manifest", func(b []byte) []byte { b[10] ^= 1; return b }, "damaged", "one bit"},
		{"manifest", func([]byte) []byte { return make([]byte, 64) }, "cut short", "zeros"},
	}
	for _, c := range cases {
		dir := t.TempDir()
		image := debian(t, "amd64")
		if err := image.WriteLayout(bg, dir, "x"); err != nil {
			t.Fatal(err)
		}
		h := map[string]string{"layer": image.manifest.Layers[0].Digest.Hex, "config": image.manifest.Config.Digest.Hex, "manifest": image.descriptor.Digest.Hex}[c.what]
		file := filepath.Join(dir, "blobs/sha256", h)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, c.spoil(b))
		opened, err := Open("oci:" + dir + ":x")
		if err == nil {
			_, err = opened.Tars(bg, t.TempDir())
		}
		if err == nil {
			t.Errorf("%s with %s was taken", c.what, c.reason)
		}
		wantError(t, err, c.want)
		if opened != nil {
			wantError(t, opened.WriteOCIArchive(bg, &bytes.Buffer{}, ""), "blob")
			wantError(t, opened.WriteLayout(bg, filepath.Join(dir, "copy"), ""), "blob")
		}
	}
}

func TestAConfigThatLiesAboutALayerIsFound(t *testing.T) {
	image := debian(t, "amd64")
	other := debian(t, "arm64")
	image.config.RootFS.DiffIDs[0] = other.config.RootFS.DiffIDs[0]
	dir := t.TempDir()
	_, err := image.Tars(bg, dir)
	wantError(t, err, "the image's config says")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "index.json"), fmt.Appendf(nil,
		`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%064d","size":%d}]}`, 0, int64(1)<<60))
	_, err := Open("oci:" + dir)
	wantError(t, err, "no more than")
	for _, hostile := range []string{"sha256:../../../../etc/passwd", "sha512:" + strings.Repeat("a", 128), "md5:aa"} {
		write(t, filepath.Join(dir, "index.json"), fmt.Appendf(nil, `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":3}]}`, hostile))
		if _, err := Open("oci:" + dir); err == nil {
			t.Errorf("digest %s was taken", hostile)
		}
	}
	if f, err := os.OpenFile(filepath.Join(dir, "index.json"), os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	} else if err := f.Truncate(maxIndexBytes + 1); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open("oci:" + dir)
	wantError(t, err, "more than")
}

func TestHostileArchivesAreRefused(t *testing.T) {
	dir := t.TempDir()
	cases := []struct {
		what    string
		content []byte
		want    string
	}{
		{"text", []byte(strings.Repeat("no tar at all\n", 100)), "tar"},
		{"nothing in it", tarOf(t), "no file manifest.json"},
		{"a layer outside", tarOf(t, item{name: "c.json", content: "{}"}, item{name: "manifest.json", content: `[{"Config":"c.json","Layers":["../../etc/passwd"]}]`}), "no file"},
		{"links in a circle", tarOf(t, item{name: "a", link: "b"}, item{name: "b", link: "a"}, item{name: "manifest.json", content: `[{"Config":"a"}]`}), "no file"},
		{"layers without a word in the config", tarOf(t, item{name: "c.json", content: "{}"}, item{name: "l.tar"}, item{name: "manifest.json", content: `[{"Config":"c.json","Layers":["l.tar"]}]`}), "1 layers"},
	}
	for _, c := range cases {
		_, err := Open("docker-archive:" + write(t, filepath.Join(dir, "a.tar"), c.content))
		if err == nil {
			t.Errorf("%s was taken", c.what)
			continue
		}
		wantError(t, err, c.want)
	}
	var many bytes.Buffer
	w := tar.NewWriter(&many)
	for n := range maxMembers + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(n), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open("oci-archive:" + write(t, filepath.Join(dir, "many.tar"), many.Bytes()))
	wantError(t, err, "no image archive")
}

func FuzzOpenArchive(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]`), []byte(`{"rootfs":{"diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}`), "a:b")
	f.Add([]byte(`{}`), []byte(``), "")
	f.Fuzz(func(t *testing.T, manifest, config []byte, tag string) {
		file := write(t, filepath.Join(t.TempDir(), "a.tar"), tarOf(t,
			item{name: "manifest.json", content: string(manifest)}, item{name: "c.json", content: string(config)}, item{name: "l.tar", content: "x"},
			item{name: "index.json", content: string(manifest)}))
		a, err := openArchive(file)
		if err != nil {
			t.Fatal(err)
		}
		if image, err := a.openDocker(tag); err == nil {
			image.Layers()
			image.Platform()
		}
		_, _ = Open("oci-archive:" + file) // must not panic
	})
}
