package shim

import (
	"path/filepath"
	"testing"
)

func TestRpmLeavesTheKernelsDirectoriesAlone(t *testing.T) {
	b := newBench(t)
	b.stub("rpm", words)
	b.expect(b.run("outside", "rpm", "--root", "/t", "-ivh", "a b.rpm"), 0,
		"[--define][_netsharedpath /proc:/sys:/dev][--root][/t][-ivh][a b.rpm]")
}

func TestDnfKeepsItsLogsOutOfTheMachine(t *testing.T) {
	b := newBench(t)
	b.stub("dnf", `[[ $1 == --disableplugin=local ]] && shift; `+words)
	b.env = append(b.env, "TMPDIR=/somewhere")
	b.expect(b.run("outside", "dnf", "download", "a b"), 0, "[--setopt=logdir=/somewhere][download][a b]")
}

func TestDnfInATreeReadsTheCallersMacros(t *testing.T) {
	b := newBench(t)
	b.write(filepath.Join(b.dir, "home/.rpmmacros"), "%vendor me\n", 0o644)
	b.stub("dnf", `[[ $1 == --disableplugin=local ]] && shift; cat "$HOME/.rpmmacros"; `+words+`; exit 3`)
	b.env = append(b.env, "HOME="+b.dir+"/home", "TMPDIR="+b.dir)
	for _, arguments := range [][]string{{"--installroot", "/t", "install", "a"}, {"-y", "--installroot=/t", "install"}} {
		words := ""
		for _, a := range arguments {
			words += "[" + a + "]"
		}
		b.expect(b.run("outside", "dnf", arguments...), 3, "%_netsharedpath /proc:/sys:/dev\n%vendor me\n"+words)
	}
	left, err := filepath.Glob(filepath.Join(b.dir, "dibber-dnf-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}

func TestDevIsBoundWithItsNodes(t *testing.T) {
	b := newBench(t)
	b.stub("mount", words)
	b.expect(b.run("outside", "mount", "--bind", "/dev", "/mnt"), 0, "[--rbind][/dev][/mnt]")
	b.expect(b.run("outside", "mount", "--bind", "/tmp", "/mnt"), 0, "[--bind][/tmp][/mnt]")
}
