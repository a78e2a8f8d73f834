package fat

import (
	"fmt"
	"strconv"
	"strings"
)

// Options are what a volume's maker may choose. The zero value gives what
// mkfs.vfat makes of a volume of that size, with serial number 0 and no label.
type Options struct {
	Label  string // at most 11 characters of ASCII
	Serial uint32 // the volume ID; shown as XXXX-XXXX
	Time   int64  // of making, in seconds since the epoch: that of the label

	Bits            int    // 12, 16 or 32; 0 chooses by size
	SectorSize      int64  // bytes, a power of two from 512 to 4096; 0 means 512
	ClusterSectors  int64  // a power of two up to 128; 0 chooses by size
	RootEntries     int64  // slots in the root directory of FAT12 and FAT16; 0 means 512, or more where needed
	ReservedSectors int64  // in front of the first table; 0 chooses
	Tables          int64  // 1 to 4; 0 means 2
	Hidden          uint32 // sectors in front of the volume on its disk
	Unaligned       bool   // neither tables and data at multiples of the cluster size nor whole tracks
}

func (o Options) sectorSize() int64 {
	if o.SectorSize == 0 {
		return 512
	}
	return o.SectorSize
}

func (o Options) tables() int64 {
	if o.Tables == 0 {
		return 2
	}
	return o.Tables
}

// check refuses values that the format does not know. Those that do not go
// together are found when sizes are chosen.
func (o Options) check() error {
	if err := checkLabel(o.Label); err != nil {
		return err
	}
	switch o.Bits {
	case 0, 12, 16, 32:
	default:
		return fmt.Errorf("cannot use tables of %d bits: they are 12, 16 or 32", o.Bits)
	}
	switch o.sectorSize() {
	case 512, 1024, 2048, 4096:
	default:
		return fmt.Errorf("cannot use sectors of %d bytes: they are 512, 1024, 2048 or 4096", o.SectorSize)
	}
	if c := o.ClusterSectors; c < 0 || c > 128 || c&(c-1) != 0 {
		return fmt.Errorf("cannot use clusters of %d sectors: it is a power of two up to 128", c)
	}
	if o.RootEntries < 0 || o.RootEntries > maxRootEntries {
		return fmt.Errorf("cannot make a root directory of %d entries: it is at most %d", o.RootEntries, maxRootEntries)
	}
	if o.ReservedSectors < 0 || o.ReservedSectors > 0xffff {
		return fmt.Errorf("cannot reserve %d sectors: it is at most 65535", o.ReservedSectors)
	}
	if o.Tables < 0 || o.Tables > 4 {
		return fmt.Errorf("cannot write %d tables: it is 1 to 4", o.Tables)
	}
	return nil
}

// checkLabel refuses what mkfs.vfat and fsck.vfat refuse in a label.
func checkLabel(label string) error {
	if len(label) > 11 {
		return fmt.Errorf("cannot use the label %q: it is at most 11 characters", label)
	}
	if strings.HasPrefix(label, " ") {
		return fmt.Errorf("cannot use the label %q: it begins with a blank", label)
	}
	for _, r := range label {
		if r < ' ' || r > '~' || strings.ContainsRune(`*?.,;:/\|+=<>[]"`, r) {
			return fmt.Errorf("cannot use the label %q: %q is not allowed in it", label, r)
		}
	}
	return nil
}

// ParseOptions understands the command line of mkfs.vfat as far as it says
// something of the volume; docs/fat.md lists the options. Others are refused
// by name.
func ParseOptions(args []string) (Options, error) {
	var o Options
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "" { // of two blanks in a row
			continue
		}
		if len(arg) < 2 || arg[0] != '-' || arg[1] == '-' {
			return Options{}, fmt.Errorf("cannot use the mkfs option %q for vfat", arg)
		}
		// One letter, or several of which only the last takes a value.
		for rest := arg[1:]; rest != ""; {
			letter := rest[0]
			rest = rest[1:]
			if o.setFlag(letter) {
				continue
			}
			value := rest
			rest = ""
			if !strings.ContainsRune("nFirRsSfh", rune(letter)) {
				return Options{}, fmt.Errorf("cannot use the mkfs option %q for vfat", "-"+string(rune(letter)))
			}
			if value == "" {
				if len(args) == 0 {
					return Options{}, fmt.Errorf("cannot use the mkfs option -%c for vfat without a value", letter)
				}
				value, args = args[0], args[1:]
			}
			if err := o.set(letter, value); err != nil {
				return Options{}, err
			}
		}
	}
	return o, o.check()
}

// setFlag understands the options that take no value.
func (o *Options) setFlag(letter byte) bool {
	switch letter {
	case 'a':
		o.Unaligned = true
	case 'I', 'v': // about the device and the messages of mkfs.vfat
	default:
		return false
	}
	return true
}

func (o *Options) set(letter byte, value string) error {
	if letter == 'n' {
		o.Label = value
		return nil
	}
	base, limit := 10, 16
	if letter == 'i' || letter == 'h' {
		limit = 32
	}
	if letter == 'i' {
		base, value = 16, strings.TrimPrefix(strings.TrimPrefix(value, "0x"), "0X")
	}
	n, err := strconv.ParseUint(value, base, limit)
	if err != nil {
		return fmt.Errorf("cannot use the mkfs option -%c for vfat: %q is not a number in its range", letter, value)
	}
	if n == 0 && letter != 'i' && letter != 'h' {
		return fmt.Errorf("cannot use the mkfs option -%c for vfat: it is not 0", letter)
	}
	switch letter {
	case 'F':
		o.Bits = int(n)
	case 'i':
		o.Serial = uint32(n)
	case 'h':
		o.Hidden = uint32(n)
	case 'r':
		o.RootEntries = int64(n)
	case 'R':
		o.ReservedSectors = int64(n)
	case 's':
		o.ClusterSectors = int64(n)
	case 'S':
		o.SectorSize = int64(n)
	case 'f':
		o.Tables = int64(n)
	}
	return nil
}
