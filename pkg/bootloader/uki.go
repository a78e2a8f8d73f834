package bootloader

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Offsets of the PE format, in the optional header of 64-bit programs (PE32+)
// unless said otherwise: Microsoft PE and COFF specification, sections 3 to 5.
const (
	peOffset = 0x3c // in the file: where the signature PE\0\0 is

	coffSections     = 2 // in the COFF header: u16
	coffSize         = 20
	optSizeOfData    = 8
	optFileAlignment = 36
	optSizeOfImage   = 56
	optCheckSum      = 64
	optDirectories   = 112
	securityEntry    = 4 // of the data directories, of 8 bytes each
	sectionSize      = 40

	sectionRead = 0x40000000
	sectionData = 0x00000040
	sectionCode = 0x20000020 // code that can be run

	pageSize   = 4096
	maxStub    = 16 << 20
	maxUnified = 1<<31 - 1 // positions have 32 bits, and some loaders take them as signed
)

// section is one to add to a program.
type section struct {
	name    string
	content io.ReaderAt
	size    int64
	code    bool // a kernel, which older stubs run where it lies
}

func textSection(name, text string) section {
	return section{name: name, content: strings.NewReader(text), size: int64(len(text))}
}

// unify appends sections to an EFI stub. The stub and the kernel are not
// trusted; a signature of the stub's is taken off, as it would not fit.
func unify(stub []byte, sections []section) (sparse.Image, error) {
	s, err := readStub(stub)
	if err != nil {
		return nil, fmt.Errorf("reading the stub: %w", err)
	}
	if len(sections) > s.room {
		return nil, fmt.Errorf("the stub has room for the headers of %d more sections, and %d are to be added", s.room, len(sections))
	}
	head := bytes.Clone(stub)
	parts := []sparse.Part{{Image: sparse.Bytes(head)}}
	at, address := align(int64(len(stub)), s.fileAlignment), s.end
	data := int64(0)
	for n, add := range sections {
		virtual := add.size
		if add.code {
			virtual = max(virtual, memorySize(add))
		}
		address = align(address, pageSize)
		size := align(add.size, s.fileAlignment)
		if add.size < 0 || address+virtual > maxUnified || at+size > maxUnified {
			return nil, fmt.Errorf("%s of %d bytes makes it larger than 2 GiB", add.name, add.size)
		}
		s.putHeader(head, n, add, at, size, address, virtual)
		parts = append(parts, sparse.Part{Offset: at, Image: content{add.content, add.size}})
		at, address, data = at+size, address+virtual, data+size
	}
	s.finish(head, len(sections), data, align(address, pageSize))
	return sparse.Join(at, parts...)
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// stubLayout is what appending needs to know of a stub.
type stubLayout struct {
	coff, optional, table int // offsets of the headers
	sections              int
	room                  int // of further section headers
	fileAlignment         int64
	end                   int64 // in memory
	data                  uint32
}

func readStub(stub []byte) (stubLayout, error) {
	var s stubLayout
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return s, err
	}
	optional, is64 := f.OptionalHeader.(*pe.OptionalHeader64)
	if !is64 || len(stub) < peOffset+4 {
		return s, errors.New("it is not a 64-bit program")
	}
	s.coff = int(binary.LittleEndian.Uint32(stub[peOffset:])) + 4
	s.optional = s.coff + coffSize
	s.table = s.optional + int(f.SizeOfOptionalHeader)
	s.sections = int(f.NumberOfSections)
	s.fileAlignment, s.data = int64(optional.FileAlignment), optional.SizeOfInitializedData
	if a := s.fileAlignment; a < 512 || a > 65536 || a&(a-1) != 0 {
		return s, fmt.Errorf("its file alignment is %d", a)
	}
	headers := int64(optional.SizeOfHeaders)
	for _, section := range f.Sections {
		// objcopy leaves a stub's last sections in one unit of alignment, so
		// the end is looked for, not the last one's.
		s.end = max(s.end, int64(section.VirtualAddress)+int64(max(section.VirtualSize, section.Size)))
		if section.Size > 0 {
			headers = min(headers, int64(section.Offset))
		}
	}
	used := s.table + s.sections*sectionSize
	if headers > int64(len(stub)) || int64(used) > headers || s.optional+optDirectories > s.table {
		return s, errors.New("its headers do not fit")
	}
	s.room = (int(headers) - used) / sectionSize
	if !sparse.IsZero(stub[used : used+s.room*sectionSize]) {
		s.room = 0
	}
	return s, nil
}

// putHeader writes the header of the added section n.
func (s stubLayout) putHeader(head []byte, n int, add section, at, size, address, virtual int64) {
	le := binary.LittleEndian
	h := head[s.table+(s.sections+n)*sectionSize:][:sectionSize]
	copy(h[:8], add.name)
	le.PutUint32(h[8:], uint32(virtual))
	le.PutUint32(h[12:], uint32(address))
	le.PutUint32(h[16:], uint32(size))
	le.PutUint32(h[20:], uint32(at))
	kind := uint32(sectionData)
	if add.code {
		kind = sectionCode
	}
	le.PutUint32(h[36:], sectionRead|kind)
}

// finish makes the headers agree with what was added. A checksum of zero is
// none; EFI firmware looks at none.
func (s stubLayout) finish(head []byte, added int, data, end int64) {
	le := binary.LittleEndian
	le.PutUint16(head[s.coff+coffSections:], uint16(s.sections+added))
	optional := head[s.optional:s.table]
	le.PutUint32(optional[optSizeOfData:], s.data+uint32(data))
	le.PutUint32(optional[optSizeOfImage:], uint32(end))
	le.PutUint32(optional[optCheckSum:], 0)
	if signature := optDirectories + securityEntry*8; len(optional) >= signature+8 {
		clear(optional[signature : signature+8])
	}
}

// memorySize is how much memory a kernel takes from its beginning on, as it
// says itself; 0 when it does not.
func memorySize(kernel section) int64 {
	r := io.NewSectionReader(kernel.content, 0, kernel.size)
	var at [4]byte
	if _, err := r.ReadAt(at[:], peOffset); err != nil {
		return 0
	}
	var head [4 + coffSize + optSizeOfImage + 4]byte
	if _, err := r.ReadAt(head[:], int64(binary.LittleEndian.Uint32(at[:]))); err != nil || string(head[:4]) != "PE\x00\x00" {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(head[4+coffSize+optSizeOfImage:]))
}

// content is a file of the tree as part of an image.
type content struct {
	io.ReaderAt
	size int64
}

func (c content) Size() int64 { return c.size }

func (c content) Extents() []sparse.Extent {
	if c.size == 0 {
		return nil
	}
	return []sparse.Extent{{Length: c.size}}
}
