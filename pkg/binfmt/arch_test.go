package binfmt

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"slices"
	"testing"
)

// The heads and masks are those that QEMU documents for its handlers.
func TestHandlersTakeTheProgramsThatTheyAreFor(t *testing.T) {
	const any64, anyBig = "ffffffffffffff00fffffffffffffffffeffffff", "ffffffffffffff00fffffffffffffffffffeffff"
	for name, want := range map[string][2]string{
		"arm64":   {"7f454c460201010000000000000000000200b700", any64},
		"amd64":   {"7f454c4602010100000000000000000002003e00", any64},
		"armhf":   {"7f454c4601010100000000000000000002002800", any64},
		"i386":    {"7f454c4601010100000000000000000002000300", any64},
		"riscv64": {"7f454c460201010000000000000000000200f300", any64},
		"ppc64el": {"7f454c4602010100000000000000000002001500", any64},
		"ppc64":   {"7f454c4602020100000000000000000000020015", anyBig},
		"powerpc": {"7f454c4601020100000000000000000000020014", anyBig},
		"s390x":   {"7f454c4602020100000000000000000000020016", anyBig},
	} {
		a, ok := Lookup(name)
		if got := hex.EncodeToString(a.magic()); !ok || got != want[0] {
			t.Errorf("%s: got magic %s, want %s", name, got, want[0])
		}
		if got := hex.EncodeToString(a.mask()); got != want[1] {
			t.Errorf("%s: got mask %s, want %s", name, got, want[1])
		}
	}
}

func TestNamesOfArchitectures(t *testing.T) {
	for name, want := range map[string]string{
		"aarch64": "arm64", "x86_64": "amd64", "ppc64le": "ppc64el", "386": "i386", "armv7l": "armhf", "s390x": "s390x", "sparc64": "", "": "", "all": "",
	} {
		if a, ok := Lookup(name); a.Name != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", name, a.Name, ok)
		}
	}
	if n := len(slices.DeleteFunc(Arches(), func(a Arch) bool { return !a.Native() })); n > 1 {
		t.Errorf("%d architectures are this machine's own", n)
	}
}

func TestTheProgramThatIsTriedIsWhatOthersReadToo(t *testing.T) {
	for _, a := range Arches() {
		f, err := elf.NewFile(bytes.NewReader(a.program()))
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		code := make([]byte, len(a.exit))
		segment := f.Progs[0]
		_, err = segment.ReadAt(code, int64(f.Entry-segment.Vaddr))
		if f.Machine != a.machine || f.ByteOrder.String() != a.order().String() || segment.Memsz != uint64(len(a.program())) || err != nil || !bytes.Equal(code, a.exit) {
			t.Errorf("%s: %v %+v, %v", a.Name, f.FileHeader, segment.ProgHeader, err)
		}
	}
}
