package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var bg = context.Background()

func TestATagBecomesThePlatformsOwnDigest(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	amd, arm := debian(t, "amd64"), debian(t, "arm64")
	h.pushIndex(t, "library/debian:12", amd, arm)
	for arch, want := range map[string]*Image{"amd64": amd, "x86_64": amd, "aarch64": arm, "arm64": arm} {
		name := h.host + "/library/debian:12"
		b, err := Resolve(bg, name, ResolveOptions{Architecture: arch})
		if err != nil {
			t.Fatal(err)
		}
		if b.Digest() != want.Digest() || b.Name() != name || b.Ref() != name || b.Platform() != "linux/"+Architecture(arch) {
			t.Errorf("%s: got %s %s %s", arch, b.Digest(), b.Ref(), b.Platform())
		}
		fields, err := b.OSRelease()
		if err != nil || fields["ARCH"] != Architecture(arch) {
			t.Errorf("%s: os-release is %v, %v", arch, fields, err)
		}
	}
	_, err := Resolve(bg, "docker://"+h.host+"/library/debian:12", ResolveOptions{Architecture: "s390x"})
	wantError(t, err, "docker://"+h.host+"/library/debian:12", "it has linux/amd64, linux/arm64; wanted linux/s390x")
}

func TestAnImageWithoutIndexIsJudgedByItsConfig(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	name := h.host + "/only:1"
	if err := Push(bg, name, debian(t, "arm64"), ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := Resolve(bg, name, ResolveOptions{Architecture: "amd64"})
	wantError(t, err, name, "it has linux/arm64; wanted linux/amd64")
	if _, err := Resolve(bg, name, ResolveOptions{Architecture: "arm64"}); err != nil {
		t.Error(err)
	}
}

func TestRegistriesAnswersAreExplained(t *testing.T) {
	quiet(t)
	h := newHub(t, httptest.NewServer)
	if err := Push(bg, h.host+"/debian:12", debian(t, "amd64"), ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	locked := newHub(t, httptest.NewServer)
	locked.allowed = func(*http.Request) bool { return false }
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	dead := strings.TrimPrefix(gone.URL, "http://")
	absent := "sha256:" + strings.Repeat("0", 64)
	cases := []struct{ name, want string }{
		{h.host + "/debian:13", "has no tag 13 of debian"},
		{h.host + "/devuan:12", "has no image devuan"},
		{h.host + "/debian@" + absent, "does not have"},
		{locked.host + "/debian:12", "refuses access to debian"},
		{dead + "/debian:12", "registry " + dead + " cannot be reached"},
		{"registry.invalid/debian:12", "registry registry.invalid cannot be reached"},
		{"Debian:12", "not the name of an image"},
		{"debian@sha256:12", "no digest"},
		{"debian:", "tag is empty"},
		{"containers-storage:debian", "containers-storage"},
		{"oci:" + t.TempDir(), "no such file"},
	}
	for _, c := range cases {
		_, err := Resolve(bg, c.name, ResolveOptions{Architecture: "amd64"})
		wantError(t, err, "cannot use image "+c.name, c.want)
	}
}

func TestLoginsAreFoundWherePodmanAndDockerKeepThem(t *testing.T) {
	h := newHub(t, httptest.NewServer)
	h.allowed = func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "me" && password == "secret:x"
	}
	image := debian(t, "amd64")
	auth := func(key string) []byte {
		return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte("me:secret:x")))
	}
	cases := []struct{ file, env, key string }{
		{"containers/auth.json", "", h.host},
		{"containers/auth.json", "", h.host + "/team"},
		{"containers/auth.json", "", h.host + "/team/debian"},
		{".docker/config.json", "", h.host},
		{"elsewhere.json", "REGISTRY_AUTH_FILE", h.host},
	}
	for _, c := range cases {
		home := quiet(t)
		if c.file == ".docker/config.json" {
			t.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
		}
		file := write(t, filepath.Join(home, c.file), auth(c.key))
		if c.env != "" {
			t.Setenv(c.env, file)
		}
		if err := Push(bg, h.host+"/team/debian:12", image, ResolveOptions{}); err != nil {
			t.Errorf("%s for %s: %v", c.file, c.key, err)
		}
	}
	home := quiet(t)
	err := Push(bg, h.host+"/team/debian:12", image, ResolveOptions{AuthFile: write(t, filepath.Join(home, "a.json"), auth(h.host+"/other"))})
	wantError(t, err, "refuses access")
	err = Push(bg, h.host+"/team/debian:12", image, ResolveOptions{AuthFile: write(t, filepath.Join(home, "a.json"), []byte("{"))})
	wantError(t, err, "a.json")
}

func TestLoginComesFromAHelper(t *testing.T) {
	home := quiet(t)
	h := newHub(t, httptest.NewServer)
	h.allowed = func(r *http.Request) bool { _, p, _ := r.BasicAuth(); return p == "fetched for "+h.host }
	helper := write(t, filepath.Join(home, "bin/docker-credential-test"), []byte("#!/bin/sh\nread host\nprintf '{\"Username\":\"me\",\"Secret\":\"fetched for %s\"}' \"$host\"\n"))
	if err := os.Chmod(helper, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
	file := write(t, filepath.Join(home, "auth.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"test"}}`, h.host))
	if err := Push(bg, h.host+"/debian:12", debian(t, "amd64"), ResolveOptions{AuthFile: file}); err != nil {
		t.Error(err)
	}
}

func TestRegistriesConfIsFollowed(t *testing.T) {
	home := quiet(t)
	h := newHub(t, httptest.NewServer)
	image := debian(t, "amd64")
	for _, name := range []string{"/library/debian:12", "/mirror/library/debian:12", "/moved/debian:12"} {
		if err := Push(bg, h.host+name, image, ResolveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct{ conf, name, ref string }{
		{`unqualified-search-registries = ["HOST/library"]`, "debian:12", "HOST/library/debian:12"},
		{`unqualified-search-registries = ["HOST/none", "HOST/library"]`, "debian:12", "HOST/library/debian:12"},
		{`[aliases]` + "\n" + `"deb" = "HOST/library/debian"`, "deb:12", "HOST/library/debian:12"},
		{`[[registry]]` + "\n" + `prefix = "example.org/os"` + "\n" + `location = "HOST/moved"`, "example.org/os/debian:12", "example.org/os/debian:12"},
		{`[[registry]]` + "\n" + `prefix = "*.example.org"` + "\n" + `location = "HOST"`, "eu.example.org/moved/debian:12", "eu.example.org/moved/debian:12"},
		{"[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"HOST/absent\"\n[[registry.mirror]]\nlocation = \"HOST/mirror\"", "debian:12", "docker.io/library/debian:12"},
	}
	for _, c := range cases {
		conf := write(t, filepath.Join(home, "r.conf"), []byte(strings.ReplaceAll(c.conf, "HOST", h.host)))
		b, err := Resolve(bg, c.name, ResolveOptions{Architecture: "amd64", RegistriesConf: conf})
		if err != nil {
			t.Errorf("%s: %v", c.conf, err)
			continue
		}
		if want := strings.ReplaceAll(c.ref, "HOST", h.host); b.Ref() != want || b.Digest() != image.Digest() {
			t.Errorf("%s: got %s at %s, want %s", c.conf, b.Ref(), b.Digest(), want)
		}
	}
	failing := []struct{ conf, name, want string }{
		{"[[registry]]\nlocation = \"example.org\"\nblocked = true", "example.org/debian", "blocked"},
		{"short-name-mode = \"enforcing\"\nunqualified-search-registries = [\"a.org\", \"b.org\"]", "debian", "a.org/debian:latest, b.org/debian:latest"},
		{"unqualified-search-registries = 1", "debian", "r.conf"},
		{"[[registry]]\nblocked = true", "debian", "neither prefix nor location"},
	}
	for _, c := range failing {
		conf := write(t, filepath.Join(home, "r.conf"), []byte(c.conf))
		_, err := Resolve(bg, c.name, ResolveOptions{RegistriesConf: conf})
		wantError(t, err, c.want)
	}
}

func TestNamesAreCompletedAsDockerDoes(t *testing.T) {
	conf := &registries{}
	for written, want := range map[string]string{
		"debian":                               "docker.io/library/debian:latest",
		"debian:12":                            "docker.io/library/debian:12",
		"team/debian":                          "docker.io/team/debian:latest",
		"docker.io/debian":                     "docker.io/library/debian:latest",
		"index.docker.io/library/xx":           "docker.io/library/xx:latest",
		"localhost/xx":                         "localhost/xx:latest",
		"localhost:5000/xx:1":                  "localhost:5000/xx:1",
		"[::1]:5000/xx:1":                      "[::1]:5000/xx:1",
		"quay.io/a/b/c:d":                      "quay.io/a/b/c:d",
		"xx@sha256:" + strings.Repeat("a", 64): "docker.io/library/xx@sha256:" + strings.Repeat("a", 64),
	} {
		n, err := parseNamed(written)
		if err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		full, err := conf.candidates(n)
		if err != nil || len(full) != 1 || full[0].String() != want {
			t.Errorf("%s: got %v, %v, want %s", written, full, err, want)
		}
	}
}

func TestUserFilesOverruleTheMachines(t *testing.T) {
	home := quiet(t)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", "")
	write(t, filepath.Join(home, "containers/registries.conf"), []byte("[aliases]\n\"one\" = \"a.org/one\"\n[[registry]]\nlocation = \"a.org\"\n"))
	write(t, filepath.Join(home, "containers/registries.conf.d/1.conf"), []byte("[aliases]\n\"two\" = \"a.org/two\"\n[[registry]]\nlocation = \"a.org\"\nblocked = true\n"))
	conf, err := readRegistries("")
	if err != nil {
		t.Fatal(err)
	}
	if conf.Aliases["one"] != "a.org/one" || conf.Aliases["two"] != "a.org/two" {
		t.Errorf("the aliases are %v", conf.Aliases)
	}
	if reg, _ := conf.match(named{host: "a.org", path: "x", tag: "y"}); reg == nil || !reg.Blocked {
		t.Errorf("a.org is %+v", reg)
	}
}

func TestACertificateIsTrustedOnlyWhenToldSo(t *testing.T) {
	home := quiet(t)
	h := newHub(t, httptest.NewTLSServer)
	name := h.host + "/debian:12"
	image := debian(t, "amd64")
	wantError(t, Push(bg, name, image, ResolveOptions{}), "certificate")
	conf := write(t, filepath.Join(home, "r.conf"), fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", strings.TrimSuffix(name, "/debian:12")))
	if err := Push(bg, name, image, ResolveOptions{RegistriesConf: conf}); err != nil {
		t.Errorf("insecure: %v", err)
	}
	if _, err := Resolve(bg, name, ResolveOptions{Architecture: "amd64", RegistriesConf: conf}); err != nil {
		t.Errorf("insecure: %v", err)
	}
}

func TestPushWantsAFullName(t *testing.T) {
	quiet(t)
	image := debian(t, "amd64")
	wantError(t, Push(bg, "debian:12", image, ResolveOptions{}), "says no registry")
	wantError(t, Push(bg, "a.org/debian@"+image.Digest(), image, ResolveOptions{}), "pushed to a tag")
}

func TestADamagedBlobIsRefused(t *testing.T) {
	quiet(t)
	for what, part := range map[string]int{"layer": 0, "config": 1, "manifest": 2} {
		h := newHub(t, httptest.NewServer)
		image := debian(t, "amd64")
		if err := Push(bg, h.host+"/debian:12", image, ResolveOptions{}); err != nil {
			t.Fatal(err)
		}
		target := []string{image.Layers()[0].Digest, image.manifest.Config.Digest.String(), "/manifests/" + image.Digest()}[part]
		h.tamper = func(path string, body []byte) []byte {
			if strings.Contains(path, target) && len(body) > 40 {
				body = bytes.Clone(body)
				body[len(body)-20] ^= 1
			}
			return body
		}
		dir := t.TempDir()
		b, err := Resolve(bg, h.host+"/debian@"+image.Digest(), ResolveOptions{Architecture: "amd64"})
		if err == nil {
			err = b.Fetch(bg, dir, nil)
		}
		if err == nil {
			t.Errorf("a damaged %s was taken", what)
		}
		if left, _ := filepath.Glob(dir + "/blobs/sha256/*"); part == 0 && len(left) > 2 {
			t.Errorf("left behind: %v", left)
		}
	}
}
