//go:build containers_image_openpgp

package main

import (
	"strings"
	"testing"
)

func TestPackageThatNoIndexHasIsNamedWithTheIndexes(t *testing.T) {
	pip := []string{
		"Looking in indexes: file:///tmp/pypi, http://site/simple",
		"ERROR: Could not find a version that satisfies the requirement trunk>=3 (from versions: 2.0)",
		"ERROR: No matching distribution found for trunk>=3",
	}
	hint := lackingPackage(pip)
	for _, want := range []string{"trunk>=3", "file:///tmp/pypi, http://site/simple", "dibber pypi sync 'trunk>=3'"} {
		if !strings.Contains(hint, want) {
			t.Errorf("the hint does not say %q: %s", want, hint)
		}
	}
	uv := []string{"  ╰─▶ Because twig was not found in the package registry and you require twig, we can"}
	if hint := lackingPackage(uv); !strings.Contains(hint, "dibber pypi sync 'twig'") {
		t.Errorf("of uv's words came %q", hint)
	}
	if hint := lackingPackage([]string{"Looking in indexes: file:///tmp/pypi", "some other fault"}); hint != "" {
		t.Errorf("of another fault came %q", hint)
	}
}
