package binfmt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestKernelsFromBeforeHandlersOfNamespaces(t *testing.T) {
	for release, old := range map[string]bool{
		"6.6.63-generic": true, "5.15.0-1-amd64": true, "4.18.0-553.el8": true, "6.7.0": false, "6.12.9-arch1": false, "10.0-rc1": false, "": true, "what": true,
	} {
		m := Machine{Root: t.TempDir()}
		file := m.below("/proc/sys/kernel/osrelease")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(release+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if m.old() != old {
			t.Errorf("%q: got %v", release, m.old())
		}
	}
}

func TestHandlersOfAMachineAreReadAsTheKernelShowsThem(t *testing.T) {
	const entry = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n" +
		"magic 7f454c460201010000000000000000000200b7\nmask ffffffffffffff00fffffffffffffffffeffff\n"
	for text, want := range map[string]bool{
		entry: true, "disabled\n" + entry[8:]: false, "": false,
		"enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n":                              false,
		"enabled\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200b7\n":                 true,
		"enabled\nflags: F\noffset 1\nmagic 7f454c460201010000000000000000000200b7\n":                 false,
		"enabled\nflags: F\noffset 0\nmagic 7f454c46\nmask ff\n":                                      false,
		"enabled\nflags: F\noffset 0\nmagic xyz\n":                                                    false,
		"enabled\nflags: \noffset 0\nmagic 7f454c460201010000000000000000000200b7\n":                  false,
		"enabled\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200f3\n":                 false,
		"enabled\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200b700aa000000000000\n": false,
	} {
		h, ok := parseHandler(text)
		arm64, _ := Lookup("arm64")
		if got := ok && h.takes(arm64); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func FuzzHandler(f *testing.F) {
	f.Add("enabled\nflags: F\noffset 0\nmagic 7f45\nmask ffff\n")
	f.Fuzz(func(_ *testing.T, text string) {
		if h, ok := parseHandler(text); ok {
			for _, a := range Arches() {
				h.takes(a)
			}
		}
	})
}
