//go:build containers_image_openpgp

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestUpstreamScripts builds images from diskimage-builder's own elements, as they
// are. They are no part of this project: DIBBER_UPSTREAM names a checkout.
func TestUpstreamScripts(t *testing.T) {
	checkout := os.Getenv("DIBBER_UPSTREAM")
	if checkout == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	checkout, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	elements := filepath.Join(checkout, "diskimage_builder/elements")
	if _, err := os.ReadDir(elements); err != nil {
		t.Fatal("DIBBER_UPSTREAM is no checkout of diskimage-builder:", err)
	}
	if why := canBuild(t); why != "" {
		t.Fatal("working containers do not run here:", why)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/upstream",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin")
			env.Setenv("UPSTREAM", checkout)
			env.Setenv("ELEMENTS_PATH", elements)
			env.Setenv("DIB_RELEASE", "bookworm")
			passMirrors(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// passMirrors lets a script see where packages come from.
func passMirrors(env *testscript.Env) {
	for _, name := range []string{"DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_SECURITY_MIRROR", "http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env.Setenv(name, value)
		}
	}
}
