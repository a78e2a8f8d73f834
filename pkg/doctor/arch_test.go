package doctor

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// emulator is of an architecture on which nobody runs these tests.
const emulator = "/usr/bin/qemu-s390x-static"

// plantEmulator plants a machine on which builds can emulate.
func plantEmulator(t *testing.T, m Machine) {
	t.Helper()
	plant(t, m, emulator, program(t, elf.PT_LOAD), 0o755)
	plant(t, m, "/proc/sys/kernel/osrelease", "6.18.44\n", 0o644)
}

// program is an executable file with a single segment.
func program(t *testing.T, segment elf.ProgType) string {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(head.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	for _, part := range []any{head, elf.Prog64{Type: uint32(segment), Filesz: 120}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// handler is how binfmt_misc shows one for s390x.
const handler = "enabled\ninterpreter /opt/emulator\nflags: OCF\noffset 0\n" +
	"magic 7f454c4602020100000000000000000000020016\nmask ffffffffffffff00fffffffffffffffffffeffff\n"

const handlerFile = "/proc/sys/fs/binfmt_misc/emulator"

func archFaults() []fault {
	alone := func(change func(*testing.T, *Machine)) func(*testing.T, *Machine) {
		return both(gone(emulator), change)
	}
	return []fault{
		{"no emulator", gone(emulator), "arches", Warn, " only: ", "sudo apt-get install qemu-user-static arch-test"},
		{"an emulator that needs libraries of the machine", func(t *testing.T, m *Machine) {
			plant(t, *m, emulator, program(t, elf.PT_INTERP), 0o755)
		}, "arches", Warn, " only: ", "qemu-user-static"},
		{"an old kernel", file("/proc/sys/kernel/osrelease", "6.6.63-generic\n"), "arches", Warn, " only: ", "binfmt-support"},
		{"a handler that images cannot use", alone(file(handlerFile, strings.Replace(handler, "OCF", "OC", 1))), "arches", Warn, " only: ", "qemu-user-static"},
		{"a disabled handler", alone(file(handlerFile, strings.Replace(handler, "enabled", "disabled", 1))), "arches", Warn, " only: ", "qemu-user-static"},
		{"mmdebstrap without arch-test", func(t *testing.T, m *Machine) { plant(t, *m, "/usr/bin/mmdebstrap", "", 0o755) }, "arches", Warn, "without arch-test", "sudo apt-get install arch-test"},
	}
}

func TestAHandlerOfTheMachineIsFound(t *testing.T) {
	m := healthy(t)
	remove(t, m, emulator)
	plant(t, m, handlerFile, handler, 0o644)
	plant(t, m, "/proc/sys/kernel/osrelease", "5.10.0\n", 0o644)
	if f := find(Check(context.Background(), m), "arches"); f.State != OK || !strings.Contains(f.Detail, "s390x through this machine's") {
		t.Errorf("%+v", f)
	}
}
