package bootloader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Offsets and values of GRUB's first two stages for a BIOS, of the sources
// grub-core/boot/i386/pc/boot.S and diskboot.S with include/grub/i386/pc/boot.h
// and include/grub/offsets.h. All numbers are little-endian.
const (
	sectorSize = 512 // the only sector that a BIOS call of boot.img knows

	bootCodeSize    = 440  // what lies behind in sector 0 belongs to the table
	bootKernelLBA   = 0x5c // u64: where core.img begins
	bootDrive       = 0x64 // u8: 0xff is the drive that the BIOS booted
	bootDriveCheck  = 0x66 // a jump over the check that the BIOS told a drive
	bootSignature   = 510
	coreListLBA     = 500 // u64: where the rest of core.img begins
	coreListLength  = 508 // u16: its sectors
	coreListSegment = 510 // u16: where in memory it goes
	coreSegment     = 0x820
	coreFirst       = 0x8000  // where in memory the first sector goes
	coreEnd         = 0x78000 // the end of the memory for it

	biosBootGUID = "21686148-6449-6E6F-744E-656564454649"
)

// Place puts GRUB's boot.img and core.img for a BIOS (platform i386-pc) on the
// disk d and writes into them where they are: boot into the first 440 bytes,
// core into the BIOS boot partition of a GPT, or into the gap between an MBR
// and the first partition. The two inputs are not changed.
//
// A disk with an EFI system partition and sectors that no boot.img can read gets
// nothing: it boots under UEFI, and elements ask for both ways of booting at once.
func Place(d *layout.Disk, boot, core []byte) ([]sparse.Part, error) {
	if err := errors.Join(checkBoot(boot), checkCore(core)); err != nil {
		return nil, err
	}
	if isForUEFIAlone(d) {
		return nil, nil
	}
	at, room, err := coreSpace(d)
	if err != nil {
		return nil, fmt.Errorf("cannot place GRUB for a BIOS: %w", err)
	}
	sectors := (int64(len(core)) + sectorSize - 1) / sectorSize
	if sectors*sectorSize > room {
		return nil, fmt.Errorf("cannot place GRUB for a BIOS: core.img needs %d bytes and there are %d at byte %d",
			sectors*sectorSize, room, at)
	}
	lba := uint64(at / sectorSize)

	first := slices.Clone(boot[:bootCodeSize])
	binary.LittleEndian.PutUint64(first[bootKernelLBA:], lba)
	first[bootDrive] = 0xff
	// Some BIOSes tell no drive in DL; with two nops the check always runs.
	first[bootDriveCheck], first[bootDriveCheck+1] = 0x90, 0x90

	second := make([]byte, sectors*sectorSize)
	copy(second, core)
	binary.LittleEndian.PutUint64(second[coreListLBA:], lba+1)
	binary.LittleEndian.PutUint16(second[coreListLength:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(second[coreListSegment:], coreSegment)
	return []sparse.Part{
		{Offset: 0, Image: sparse.Bytes(first)},
		{Offset: at, Image: sparse.Bytes(second)},
	}, nil
}

func isForUEFIAlone(d *layout.Disk) bool {
	return d.Image != nil && d.Image.SectorSize > sectorSize &&
		slices.ContainsFunc(d.Parts, func(p layout.Part) bool { return p.Partition != nil && isESP(p.Partition.Type) })
}

func checkBoot(boot []byte) error {
	if len(boot) != sectorSize {
		return fmt.Errorf("cannot use boot.img: it has %d bytes, want %d", len(boot), sectorSize)
	}
	if boot[bootSignature] != 0x55 || boot[bootSignature+1] != 0xaa {
		return fmt.Errorf("cannot use boot.img: it ends with %02x %02x, want 55 aa", boot[bootSignature], boot[bootSignature+1])
	}
	return nil
}

// checkCore recognises an image that grub-mkimage made for the platform
// i386-pc: its first sector already says how many sectors follow, and where in
// memory.
func checkCore(core []byte) error {
	if len(core) <= sectorSize {
		return fmt.Errorf("cannot use core.img: it has %d bytes, want more than %d", len(core), sectorSize)
	}
	if most := coreEnd - coreFirst; len(core) > most {
		return fmt.Errorf("cannot use core.img: it has %d bytes, a BIOS can load %d", len(core), most)
	}
	rest := (len(core) - 1) / sectorSize
	says, segment := binary.LittleEndian.Uint16(core[coreListLength:]), binary.LittleEndian.Uint16(core[coreListSegment:])
	if segment != coreSegment {
		return fmt.Errorf("cannot use core.img: it is not an image that grub-mkimage made for i386-pc (segment %#x, want %#x)", segment, coreSegment)
	}
	if int(says) != rest {
		return fmt.Errorf("cannot use core.img: its first sector tells of %d more sectors and there are %d", says, rest)
	}
	return nil
}

// coreSpace finds the bytes of the disk that are meant for core.img.
func coreSpace(d *layout.Disk) (at, room int64, err error) {
	if d.Image == nil || d.Image.Table == nil {
		return 0, 0, errors.New("the disk has no partition table, so no space is kept for it")
	}
	if d.Image.SectorSize > sectorSize {
		return 0, 0, fmt.Errorf("the disk has sectors of %d bytes, and GRUB's boot sector reads only sectors of %d bytes; use UEFI for this disk",
			d.Image.SectorSize, sectorSize)
	}
	switch d.Image.Table.Label {
	case layout.GPT:
		return biosBootPartition(d)
	case layout.MBR:
		return gap(d)
	}
	return 0, 0, fmt.Errorf("the partition table is of the unknown kind %q", d.Image.Table.Label)
}

func biosBootPartition(d *layout.Disk) (at, room int64, err error) {
	for _, p := range d.Parts {
		if p.Partition == nil || !isBIOSBoot(p.Partition.Type) {
			continue
		}
		if p.FileSystem != nil {
			return 0, 0, fmt.Errorf("the BIOS boot partition %q must not have a file system, it has %s", p.Partition.Name, p.FileSystem.Type)
		}
		if p.Offset < sectorSize || p.Offset%sectorSize != 0 {
			return 0, 0, fmt.Errorf("the BIOS boot partition %q cannot be at byte %d", p.Partition.Name, p.Offset)
		}
		return p.Offset, p.Length, nil
	}
	return 0, 0, errors.New("the GPT has no BIOS boot partition; add one of type EF02 and 1 MiB, without a file system")
}

func isBIOSBoot(kind string) bool {
	return strings.EqualFold(kind, "EF02") || strings.EqualFold(kind, biosBootGUID)
}

// gap is what lies between the MBR and the first partition. A logical partition
// has its own table before it, in an alignment's distance.
func gap(d *layout.Disk) (at, room int64, err error) {
	end := d.Size
	for _, p := range d.Parts {
		begin := p.Offset
		if p.Number >= 5 {
			begin -= d.Image.Table.Alignment()
		}
		end = min(end, begin)
	}
	if end <= sectorSize {
		return 0, 0, errors.New("there is no gap between the MBR and the first partition; let the first partition begin at 1 MiB (align: 1MiB)")
	}
	return sectorSize, end - sectorSize, nil
}
