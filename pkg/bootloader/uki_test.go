package bootloader

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// fakeStub is a program in the format PE32+ with one section of 512 bytes and
// room for more headers.
func fakeStub(room int) []byte {
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ")
	le.PutUint32(b[peOffset:], 64)
	copy(b[64:], "PE\x00\x00")
	coff := b[68:]
	le.PutUint16(coff[0:], 0x8664)
	le.PutUint16(coff[2:], 1)
	le.PutUint16(coff[16:], 240)
	le.PutUint16(coff[18:], 0x206)
	optional := coff[coffSize:]
	le.PutUint16(optional, 0x20b)
	le.PutUint32(optional[optSizeOfData:], 512)
	le.PutUint32(optional[32:], 512)
	le.PutUint32(optional[optFileAlignment:], 512)
	le.PutUint32(optional[optSizeOfImage:], 0x1200)
	le.PutUint32(optional[60:], 512)
	le.PutUint32(optional[optCheckSum:], 7)
	le.PutUint32(optional[108:], 16)
	le.PutUint32(optional[optDirectories+securityEntry*8:], 1024)
	section := optional[240:]
	copy(section, ".text")
	le.PutUint32(section[8:], 0x100)
	le.PutUint32(section[12:], 0x1000)
	le.PutUint32(section[16:], 512)
	le.PutUint32(section[20:], 512)
	// What lies where the next header would be takes the room away.
	if used := 68 + coffSize + 240 + sectionSize; used+room*sectionSize < 512 {
		b[used+room*sectionSize] = 1
	}
	copy(b[512:], "program")
	return b
}

func read(t *testing.T, img sparse.Image) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSectionsAreFoundWithWhatTheyHold(t *testing.T) {
	kernel := fakeStub(0) // tells of 0x1200 bytes in memory
	img, err := unify(fakeStub(100), []section{
		textSection(".cmdline", "root=x"),
		textSection(".empty", ""),
		{name: ".linux", content: bytes.NewReader(kernel), size: int64(len(kernel)), code: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := read(t, img)
	f, err := pe.NewFile(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{".text": "program", ".cmdline": "root=x", ".empty": "", ".linux": string(kernel)} {
		s := f.Section(name)
		if s == nil {
			t.Fatalf("there is no section %s", name)
		}
		data, err := s.Data()
		if err != nil || !strings.HasPrefix(string(data), want) || !sparse.IsZero(data[len(want):]) {
			t.Errorf("%s holds %q, %v", name, data, err)
		}
		if s.VirtualAddress%512 != 0 || s.Offset%512 != 0 {
			t.Errorf("%s is at %#x, in memory at %#x", name, s.Offset, s.VirtualAddress)
		}
	}
	linux, header := f.Section(".linux"), f.OptionalHeader.(*pe.OptionalHeader64)
	if linux.VirtualSize != 0x1200 || linux.Characteristics != 0x60000020 {
		t.Errorf(".linux has %#x bytes in memory and is %#x", linux.VirtualSize, linux.Characteristics)
	}
	if end := linux.VirtualAddress + linux.VirtualSize; header.SizeOfImage < end || header.SizeOfImage%pageSize != 0 {
		t.Errorf("the program has %#x bytes in memory, the last section ends at %#x", header.SizeOfImage, end)
	}
	if header.CheckSum != 0 || header.DataDirectory[securityEntry].VirtualAddress != 0 {
		t.Error("the stub's checksum or signature is still there")
	}
	if header.SizeOfInitializedData != 512+512+1024 {
		t.Errorf("the program tells of %d bytes of data", header.SizeOfInitializedData)
	}
}

func TestStubsThatCannotBeUsedAreRefused(t *testing.T) {
	change := func(at int, with ...byte) []byte {
		b := fakeStub(100)
		copy(b[at:], with)
		return b
	}
	for name, c := range map[string]struct {
		stub []byte
		want string
	}{
		"nothing":        {nil, "reading the stub"},
		"text":           {[]byte(strings.Repeat("text ", 100)), "reading the stub"},
		"32 bits":        {change(68+coffSize, 0x0b, 0x01), "reading the stub"},
		"no room":        {fakeStub(1), "room for the headers of 0 more sections, and 2"},
		"odd alignment":  {change(68+coffSize+optFileAlignment, 3), "file alignment"},
		"headers beyond": {change(68+2, 20), "reading the stub"},
	} {
		_, err := unify(c.stub, []section{textSection(".a", "a"), textSection(".b", "b")})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", name, err, c.want)
		}
	}
	huge := section{name: ".initrd", content: strings.NewReader(""), size: 1 << 31}
	if _, err := unify(fakeStub(100), []section{huge}); err == nil || !strings.Contains(err.Error(), ".initrd of 2147483648 bytes") {
		t.Errorf("an initrd of 2 GiB: the error is %v", err)
	}
}

// objcopy and objdump are the tools that such images are made and read with.
func TestObjdumpSeesTheSections(t *testing.T) {
	img, err := unify(fakeStub(100), []section{textSection(".osrel", "ID=x"), textSection(".cmdline", "root=x")})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.efi")
	if err := os.WriteFile(name, read(t, img), 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := judge.Run(t, "objdump", "-s", "-j", ".cmdline", name)
	if err != nil || !strings.Contains(out, "root=x") {
		t.Errorf("objdump: %v\n%s", err, out)
	}
}

func FuzzUnifyTakesAnyStubAndKernel(f *testing.F) {
	f.Add(fakeStub(100), fakeStub(0))
	f.Add(fakeStub(2), []byte("MZ"))
	f.Add([]byte("MZ"), []byte{})
	f.Fuzz(func(t *testing.T, stub, kernel []byte) {
		img, err := unify(stub, []section{textSection(".cmdline", "x"),
			{name: ".linux", content: bytes.NewReader(kernel), size: int64(len(kernel)), code: true}})
		if err != nil {
			return
		}
		if limit := int64(len(stub)+len(kernel)) + 4*65536; img.Size() > limit {
			t.Fatalf("%d bytes came of %d and %d", img.Size(), len(stub), len(kernel))
		}
		program, err := pe.NewFile(bytes.NewReader(read(t, img)))
		if err != nil {
			t.Fatalf("the result is no program: %v", err)
		}
		if got, err := program.Sections[len(program.Sections)-1].Data(); err != nil || !bytes.HasPrefix(got, kernel) {
			t.Fatalf("the kernel is not there: %v", err)
		}
	})
}

func FuzzTextsOfTheTreeAreTaken(f *testing.F) {
	f.Add("ID=debian\nNAME='a b'", "Name: a/b\nValue: x\n\nName: c/d\n", "1.2~rc3-4")
	f.Add("A=\"$(x)\"\n", "Flags: seen", "00010")
	f.Fuzz(func(t *testing.T, text, database, version string) {
		for _, v := range assignments(text) {
			if got, plain := unquote(shellQuote(v)); !plain || got != v {
				t.Fatalf("%q comes back as %q", v, got)
			}
			// Arguments are cut the same way again, but for quotes inside them.
			if list := words(v); !strings.ContainsAny(v, `"`) && strings.Join(words(joinWords(list)), "|") != strings.Join(list, "|") {
				t.Fatalf("%q is cut into %q", v, list)
			}
		}
		once := presetAnswers(database, []answer{{"a/b", "true", "owner"}})
		if twice := presetAnswers(once, []answer{{"a/b", "true", "owner"}}); twice != once {
			t.Fatalf("answering twice changes\n%q to\n%q", once, twice)
		}
		for _, other := range []string{text, "1.2", version + "~"} {
			if compareVersions(version, other) != -compareVersions(other, version) || compareVersions(other, other) != 0 {
				t.Fatalf("the order of %q and %q is none", version, other)
			}
		}
		fstabPoints(text)
	})
}

func TestVersionsAreOrderedAsDebianDoes(t *testing.T) {
	ascending := []string{"0-rescue-1", "5.10.0-9-amd64", "5.10.0-28-amd64", "6.1.0~rc1", "6.1.0", "6.1.0-9", "6.1.0-10", "6.1.0-10+b1", "linux", "virt"}
	for i := range ascending {
		for j := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compareVersions(ascending[i], ascending[j]); got != want {
				t.Errorf("%s and %s: %d, want %d", ascending[i], ascending[j], got, want)
			}
		}
	}
}

func TestDpkgAgreesOnTheOrder(t *testing.T) {
	for _, pair := range [][2]string{{"1.0~a", "1.0"}, {"1.0+a", "1.0-a"}, {"1a", "1.1"}, {"1.09", "1.9"}, {"6.1.0-10-amd64", "6.1.0-9-amd64"}, {"5", "5.0"}} {
		want := 1
		if judge.Command(t, "dpkg", "--compare-versions", pair[0], "lt", pair[1]).Run() == nil {
			want = -1
		} else if judge.Command(t, "dpkg", "--compare-versions", pair[0], "eq", pair[1]).Run() == nil {
			want = 0
		}
		if got := compareVersions(pair[0], pair[1]); got != want {
			t.Errorf("%q and %q: %d, dpkg says %d", pair[0], pair[1], got, want)
		}
	}
}

func TestOsReleaseIsReadAsAShellWould(t *testing.T) {
	got := assignments("# ID=no\nID=debian\nNAME=\"Debian \\\"GNU\\\"\"\nEMPTY=\nTWO='it'\"'\"'s' # why\nRUN=$(id)\nlower=x\nBAD=\"open\nTWICE=a\nTWICE=$X\n A_1=b\n")
	want := map[string]string{"ID": "debian", "NAME": `Debian "GNU"`, "EMPTY": "", "TWO": "it's", "A_1": "b"}
	if len(got) != len(want) {
		t.Errorf("got %q", got)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}
