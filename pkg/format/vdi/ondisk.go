package vdi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// All numbers on disk are little-endian.
const (
	banner     = "<<< QEMU VM Virtual Disk Image >>>\n"
	signature  = 0xbeda107f // at signatureAt; the banner may be any text
	version    = 0x00010001
	headerSize = 512

	signatureAt  = 0x40
	encodedSize  = 0x180 // what the header says of its own length, without what is before that field
	mapOffset    = headerSize
	sectorSize   = 512
	blockSize    = 1 << 20
	minBlockSize = 4 << 10 // of others; QEMU reads blocks of 1 MiB only
	maxBlockSize = 256 << 20
	maxBlocks    = 0x3fffffff // QEMU reads no more

	unallocated = 0xffffffff // in the block map
	discarded   = 0xfffffffe // reads as zeros, as an unallocated one does
)

// The kinds of images.
const (
	dynamic = 1 + iota
	fixed
	undo
	differencing
)

type header struct {
	kind           uint32
	mapOffset      int64
	data           int64
	size           int64 // of the disk, bytes
	blockSize      int64
	blockExtra     uint32
	blocks         int64
	allocated      int64
	id, snapshot   [16]byte
	link, parent   [16]byte
	bytesPerSector uint32
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, banner)
	le.PutUint32(b[signatureAt:], signature)
	le.PutUint32(b[0x44:], version)
	le.PutUint32(b[0x48:], encodedSize)
	le.PutUint32(b[0x4c:], h.kind)
	le.PutUint32(b[0x154:], uint32(h.mapOffset))
	le.PutUint32(b[0x158:], uint32(h.data))
	le.PutUint32(b[0x168:], sectorSize) // the geometry before it stays zero: readers work it out
	le.PutUint64(b[0x170:], uint64(h.size))
	le.PutUint32(b[0x178:], uint32(h.blockSize))
	le.PutUint32(b[0x180:], uint32(h.blocks))
	le.PutUint32(b[0x184:], uint32(h.allocated))
	putUUID(b[0x188:], h.id)
	putUUID(b[0x198:], h.snapshot)
	return b
}

// putUUID stores a UUID as VirtualBox does: the numbers that it begins with are
// little-endian.
func putUUID(b []byte, id [16]byte) {
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint32(b, be.Uint32(id[:]))
	le.PutUint16(b[4:], be.Uint16(id[4:]))
	le.PutUint16(b[6:], be.Uint16(id[6:]))
	copy(b[8:16], id[8:])
}

func uuid(b []byte) (id [16]byte) {
	putUUID(id[:], [16]byte(b))
	return id
}

func decode(b []byte) (*header, error) {
	le := binary.LittleEndian
	if le.Uint32(b[signatureAt:]) != signature {
		return nil, ErrNone
	}
	if v := le.Uint32(b[0x44:]); v != version {
		return nil, fmt.Errorf("version %d.%d of vdi is not supported, only 1.1 is", v>>16, v&0xffff)
	}
	h := &header{
		kind:           le.Uint32(b[0x4c:]),
		mapOffset:      int64(le.Uint32(b[0x154:])),
		data:           int64(le.Uint32(b[0x158:])),
		bytesPerSector: le.Uint32(b[0x168:]),
		size:           int64(min(le.Uint64(b[0x170:]), 1<<62)),
		blockSize:      int64(le.Uint32(b[0x178:])),
		blockExtra:     le.Uint32(b[0x17c:]),
		blocks:         int64(le.Uint32(b[0x180:])),
		allocated:      int64(le.Uint32(b[0x184:])),
		id:             uuid(b[0x188:]),
		snapshot:       uuid(b[0x198:]),
		link:           uuid(b[0x1a8:]),
		parent:         uuid(b[0x1b8:]),
	}
	return h, h.check()
}

// check refuses what cannot be or is not supported. The size of the file is not
// looked at.
func (h *header) check() error {
	switch {
	case h.kind == differencing || h.kind == undo || h.link != [16]byte{} || h.parent != [16]byte{}:
		return errors.New("it is a differencing image, a part of whose disk lies in another file, which is not supported: merge them with VBoxManage clonemedium")
	case h.kind != dynamic && h.kind != fixed:
		return fmt.Errorf("images of type %d are not known", h.kind)
	case h.bytesPerSector != sectorSize:
		return fmt.Errorf("sectors of %d bytes are not supported, only %d", h.bytesPerSector, sectorSize)
	case h.blockSize < minBlockSize || h.blockSize > maxBlockSize || h.blockSize&(h.blockSize-1) != 0:
		return fmt.Errorf("the header asks for blocks of %d bytes", h.blockSize)
	case h.blockExtra != 0:
		return fmt.Errorf("blocks with %d bytes of extra data are not supported", h.blockExtra)
	case h.blocks > maxBlocks:
		return fmt.Errorf("the header asks for %d blocks, more than %d are not read", h.blocks, maxBlocks)
	case h.size > h.blocks*h.blockSize:
		return fmt.Errorf("%d blocks of %d bytes are too few for a disk of %d bytes", h.blocks, h.blockSize, h.size)
	case h.mapOffset < signatureAt+encodedSize || h.data < signatureAt+encodedSize:
		return errors.New("the block map or the data is said to lie in the header")
	}
	return nil
}
