package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyACommandThatWantsDevicesIsReplaced(t *testing.T) {
	for text, want := range map[string]bool{
		"#!/bin/bash\nsudo losetup -f\n": true,
		"#!/bin/bash\nkpartx -av $1\n":   true,
		"#!/bin/bash\nguestfish -i\n":    false,
		"":                               false,
	} {
		b := newBench(t)
		hooks := filepath.Join(b.dir, "hooks")
		own := filepath.Join(hooks, "bin/extract-image")
		b.write(own, text, 0o755)
		if err := Replace(hooks); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.read(own), "hook-tool extract-image"); got != want {
			t.Errorf("%q: replaced is %v", text, got)
		}
		if info, err := os.Stat(own); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestNothingIsReplacedThroughALink(t *testing.T) {
	b := newBench(t)
	hooks := filepath.Join(b.dir, "hooks")
	if err := os.MkdirAll(filepath.Join(hooks, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Replace(hooks); err != nil {
		t.Errorf("without the command: %v", err)
	}
	victim := filepath.Join(b.dir, "victim")
	b.write(victim, "losetup", 0o644)
	if err := os.Symlink(victim, filepath.Join(hooks, "bin/extract-image")); err != nil {
		t.Fatal(err)
	}
	if err := Replace(hooks); err == nil {
		t.Error("a link out of the hooks is followed")
	}
	if got := b.read(victim); got != "losetup" {
		t.Errorf("the file elsewhere has %q", got)
	}
}
