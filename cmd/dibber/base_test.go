//go:build containers_image_openpgp

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What a base's config says of its programs is not for hooks: they are root,
// see no variables of it, and what they write below its volumes is in the image.
func TestHooksAreNotBoundByTheConfigOfTheBase(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	home, own := openHome(t), t.TempDir()
	hook := filepath.Join(own, "checks/install.d/60-checks")
	for path, text := range map[string]string{
		filepath.Join(own, "oci-image/element-provides"): "operating-system\n",
		hook: "#!/bin/bash\nset -eu\n[ $UID = 0 ] && [ $PWD = / ] && [ -z \"${FOO:-}\" ]\nmkdir -p /var/data\necho kept >/var/data/file\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+own+":"+elements)
	mustBuild := func(args ...string) {
		t.Helper()
		var story bytes.Buffer
		if err := dibber(env, &story, append([]string{"build", "-n"}, args...)...).Run(); err != nil {
			t.Fatalf("%v\n%s", err, &story)
		}
	}
	mustBuild("-t", "oci", "-o", filepath.Join(home, "base"), "fake-os")
	changeConfig(t, filepath.Join(home, "base.oci"), map[string]any{
		"User": "1000:1000", "Env": []string{"PATH=/nowhere", "FOO=bar"}, "WorkingDir": "/srv",
		"Entrypoint": []string{"/bin/false"}, "Volumes": map[string]any{"/var/data": map[string]any{}},
	})
	mustBuild("-t", "tar", "-o", filepath.Join(home, "image"), "--from", "oci:"+filepath.Join(home, "base.oci"), "machine-usr", "checks")
	out, err := exec.Command("tar", "-xOf", filepath.Join(home, "image.tar"), "./var/data/file").CombinedOutput()
	if err != nil || string(out) != "kept\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// changeConfig writes another config into the only image of a layout.
func changeConfig(t *testing.T, layout string, config map[string]any) {
	t.Helper()
	index := readJSON(t, filepath.Join(layout, "index.json"))
	listed := index["manifests"].([]any)[0].(map[string]any)
	manifest := readJSON(t, blob(layout, listed))
	named := manifest["config"].(map[string]any)
	image := readJSON(t, blob(layout, named))
	image["config"] = config
	writeBlob(t, layout, named, image)
	writeBlob(t, layout, listed, manifest)
	text, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layout, "index.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// blob is the file of a descriptor.
func blob(layout string, descriptor map[string]any) string {
	return filepath.Join(layout, "blobs/sha256", descriptor["digest"].(string)[len("sha256:"):])
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// writeBlob writes a value and makes the descriptor name it.
func writeBlob(t *testing.T, layout string, descriptor, value map[string]any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	descriptor["digest"] = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	descriptor["size"] = len(text)
	if err := os.WriteFile(blob(layout, descriptor), text, 0o644); err != nil {
		t.Fatal(err)
	}
}
