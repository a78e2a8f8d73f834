package binfmt

import (
	"debug/elf"
	"encoding/binary"
	"runtime"
	"slices"
)

// Arch is an architecture whose programs a build may want to run.
type Arch struct {
	Name string // as Debian and diskimage-builder write it: arm64
	QEMU string // as QEMU calls it: aarch64

	aliases []string
	class   elf.Class
	data    elf.Data
	machine elf.Machine
	flags   uint32 // e_flags of a program
	exit    []byte // machine code that ends with tryStatus, and needs no library
}

// tryStatus is what a program that was tried ends with.
const tryStatus = 42

// Arches lists what is known, in alphabetical order.
func Arches() []Arch {
	const (
		armEABI5 = 0x05000000
		powerV2  = 2 // the entry point is code, no descriptor
	)
	power := []byte{0x38, 0x00, 0x00, 0x01, 0x38, 0x60, 0x00, tryStatus, 0x44, 0x00, 0x00, 0x02} // li r0,1; li r3,42; sc
	return []Arch{
		{"amd64", "x86_64", []string{"x86_64"}, elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, 0,
			[]byte{0xb8, 60, 0, 0, 0, 0xbf, tryStatus, 0, 0, 0, 0x0f, 0x05}}, // mov eax,60; mov edi,42; syscall
		{"arm64", "aarch64", []string{"aarch64"}, elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64, 0,
			[]byte{0xa8, 0x0b, 0x80, 0xd2, 0x40, 0x05, 0x80, 0xd2, 0x01, 0, 0, 0xd4}}, // mov x8,93; mov x0,42; svc 0
		{"armhf", "arm", []string{"arm", "armel", "armv7l"}, elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, armEABI5,
			[]byte{0x01, 0x70, 0xa0, 0xe3, tryStatus, 0x00, 0xa0, 0xe3, 0, 0, 0, 0xef}}, // mov r7,1; mov r0,42; svc 0
		{"i386", "i386", []string{"386", "i686"}, elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, 0,
			[]byte{0xb8, 1, 0, 0, 0, 0xbb, tryStatus, 0, 0, 0, 0xcd, 0x80}}, // mov eax,1; mov ebx,42; int 0x80
		{"powerpc", "ppc", []string{"ppc"}, elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_PPC, 0, power},
		{"ppc64", "ppc64", nil, elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_PPC64, powerV2, power},
		{"ppc64el", "ppc64le", []string{"ppc64le"}, elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64, powerV2, swapped(power)},
		{"riscv64", "riscv64", nil, elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, 0,
			[]byte{0x93, 0x08, 0xd0, 0x05, 0x13, 0x05, 0xa0, 0x02, 0x73, 0, 0, 0}}, // li a7,93; li a0,42; ecall
		{"s390x", "s390x", nil, elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390, 0,
			[]byte{0xa7, 0x29, 0x00, tryStatus, 0x0a, 0x01}}, // lghi %r2,42; svc 1
	}
}

// swapped gives instructions of four bytes in the other byte order.
func swapped(code []byte) []byte {
	var out []byte
	for word := range slices.Chunk(code, 4) {
		out = append(out, word[3], word[2], word[1], word[0])
	}
	return out
}

// Lookup knows an architecture by the names that Debian, diskimage-builder, Go
// and the kernel have for it.
func Lookup(name string) (Arch, bool) {
	for _, a := range Arches() {
		if a.Name == name || slices.Contains(a.aliases, name) {
			return a, true
		}
	}
	return Arch{}, false
}

// Native tells whether it is the architecture of this very program.
func (a Arch) Native() bool {
	own, _ := Lookup(runtime.GOARCH)
	return own.Name == a.Name
}

// byteOrder is how an architecture writes numbers.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func (a Arch) order() byteOrder {
	if a.data == elf.ELFDATA2MSB {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// headBytes is how much of a program's head tells its architecture: the ELF
// identification, the type and the machine.
const headBytes = elf.EI_NIDENT + 2 + 2

// magic is the head of a program that is not position independent.
func (a Arch) magic() []byte {
	head := make([]byte, headBytes)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[elf.EI_VERSION] = byte(a.class), byte(a.data), byte(elf.EV_CURRENT)
	a.order().PutUint16(head[elf.EI_NIDENT:], uint16(elf.ET_EXEC))
	a.order().PutUint16(head[elf.EI_NIDENT+2:], uint16(a.machine))
	return head
}

// mask leaves out of magic the system that a program is marked for, and whether
// it is position independent.
func (a Arch) mask() []byte {
	mask := slices.Repeat([]byte{0xff}, headBytes)
	mask[elf.EI_OSABI] = 0
	a.order().PutUint16(mask[elf.EI_NIDENT:], ^uint16(elf.ET_EXEC^elf.ET_DYN))
	return mask
}

// program is the least that the kernel takes for a program of this architecture:
// one segment with one page of it, that ends with tryStatus.
func (a Arch) program() []byte {
	const base = 0x400000
	order := a.order()
	head := a.magic()
	if a.class == elf.ELFCLASS32 {
		const headers = 52 + 32
		size := uint32(headers + len(a.exit))
		for _, v := range []uint32{uint32(elf.EV_CURRENT), base + headers, 52, 0, a.flags} {
			head = order.AppendUint32(head, v)
		}
		for _, v := range []uint16{52, 32, 1, 40, 0, 0} {
			head = order.AppendUint16(head, v)
		}
		for _, v := range []uint32{uint32(elf.PT_LOAD), 0, base, base, size, size, uint32(elf.PF_R | elf.PF_X), 0x10000} {
			head = order.AppendUint32(head, v)
		}
		return append(head, a.exit...)
	}
	const headers = 64 + 56
	size := uint64(headers + len(a.exit))
	head = order.AppendUint32(head, uint32(elf.EV_CURRENT))
	for _, v := range []uint64{base + headers, 64, 0} {
		head = order.AppendUint64(head, v)
	}
	head = order.AppendUint32(head, a.flags)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		head = order.AppendUint16(head, v)
	}
	head = order.AppendUint32(head, uint32(elf.PT_LOAD))
	head = order.AppendUint32(head, uint32(elf.PF_R|elf.PF_X))
	for _, v := range []uint64{0, base, base, size, size, 0x10000} {
		head = order.AppendUint64(head, v)
	}
	return append(head, a.exit...)
}
