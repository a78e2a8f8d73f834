package ext4

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// withArgument and without are the options of mke2fs 1.47.0.
const (
	withArgument    = "bCdeEgGiIJlLmMNoOrRstTUz"
	withoutArgument = "cDFjKnqSvV"
)

// ParseOptions reads options as mke2fs takes them, one word or more each. An
// option is understood or refused by name; which is which is a table in
// docs/ext4.md. Empty words are skipped.
func ParseOptions(args []string) (Options, error) {
	o := Options{}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "" {
			continue
		}
		if len(word) < 2 || word[0] != '-' {
			return o, fmt.Errorf("cannot use the mkfs option %q: not an option", word)
		}
		var err error
		if args, err = o.parseWord(word[1:], args); err != nil {
			return o, err
		}
	}
	return o, nil
}

// parseWord reads a word of letters, the last of which may have a value: the
// rest of the word, or the next one. It gives the words that are left.
func (o *Options) parseWord(letters string, args []string) ([]string, error) {
	for letters != "" {
		letter, value := letters[:1], ""
		letters = letters[1:]
		if strings.Contains(withArgument, letter) {
			value, letters = letters, ""
			if value == "" && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			if value == "" {
				return nil, fmt.Errorf("cannot use the mkfs option %q: it needs a value", "-"+letter)
			}
		} else if !strings.Contains(withoutArgument, letter) {
			return nil, fmt.Errorf("cannot use the mkfs option %q: mke2fs has none of that name", "-"+letter)
		}
		if err := o.set(letter, value); err != nil {
			return nil, fmt.Errorf("cannot use the mkfs option %q: %w", strings.TrimSpace("-"+letter+" "+value), err)
		}
	}
	return args, nil
}

// errUnwritten refuses what mke2fs can do and this package does not.
var errUnwritten = errors.New("it asks for something that is not written here")

// set takes one option.
func (o *Options) set(letter, value string) (err error) {
	switch letter {
	case "D", "F", "K", "q", "v": // how mke2fs works, not what it makes
	case "b":
		err = o.setBlockSize(value)
	case "e":
		o.Errors = value
		_, err = o.errorBehaviour()
	case "E":
		err = o.setExtended(value)
	case "G":
		if o.FlexGroups, err = parseInt(value, 1<<30); err == nil && o.FlexGroups&(o.FlexGroups-1) != 0 || o.FlexGroups == 0 {
			err = errors.New("it is a power of two")
		}
	case "i":
		err = o.setBytesPerInode(value)
	case "I":
		o.InodeSize, err = parseInt(value, 1<<16)
	case "j":
		err = o.parseFeatures("has_journal")
	case "J":
		err = o.setJournal(value)
	case "L":
		o.Label = value
		err = o.check()
	case "m":
		err = o.setReserved(value)
	case "M":
		o.LastMounted = value
		err = o.check()
	case "N":
		var n int
		n, err = parseInt(value, 1<<32-1)
		o.Inodes = int64(n)
	case "o":
		if !strings.EqualFold(value, "linux") && value != "0" {
			err = errUnwritten
		}
	case "O":
		err = o.parseFeatures(value)
	case "r":
		if value != "1" {
			err = errUnwritten
		}
	case "t":
		o.Type = value
		_, err = typeFeatures(value)
	case "T":
		o.Usage = value
		_, err = o.shape(0)
	case "U":
		err = o.setUUID(value)
	default:
		err = errUnwritten
	}
	return err
}

// setBlockSize reads the argument of -b.
func (o *Options) setBlockSize(value string) error {
	n, err := parseSize(value)
	if err != nil {
		return err
	}
	if n != 1024 && n != 2048 && n != 4096 {
		return errors.New("blocks are of 1024, 2048 or 4096 bytes")
	}
	o.BlockSize = int(n)
	return nil
}

// setBytesPerInode reads the argument of -i.
func (o *Options) setBytesPerInode(value string) error {
	n, err := parseSize(value)
	if err != nil {
		return err
	}
	if n < minBytesPerInode || n > maxBytesPerInode {
		return fmt.Errorf("it is %d to %d bytes", minBytesPerInode, maxBytesPerInode)
	}
	o.BytesPerInode = n
	return nil
}

// setReserved reads the percentage of -m, where 0 means none.
func (o *Options) setReserved(value string) error {
	percent, err := strconv.ParseFloat(value, 64)
	if err != nil || !(percent >= 0 && percent <= 50) {
		return errors.New("it is a percentage from 0 to 50")
	}
	if o.ReservedPercent = percent; percent == 0 {
		o.ReservedPercent = -1
	}
	return nil
}

// setUUID reads the argument of -U.
func (o *Options) setUUID(value string) (err error) {
	switch value {
	case "clear", "null":
		o.UUID = [16]byte{}
	case "random", "time":
		return errors.New("it is not chosen here but given")
	default:
		o.UUID, err = parseUUID(value)
	}
	return err
}

// setJournal reads the list of -J.
func (o *Options) setJournal(list string) error {
	for item := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(item, "=")
		switch name {
		case "size":
			meg, err := parseInt(value, 1<<24)
			if err != nil {
				return err
			}
			o.JournalSize = int64(meg) << 20
		case "device", "fast_commit_size", "location", "v1_superblock":
			return fmt.Errorf("%s: %w", name, errUnwritten)
		default:
			return fmt.Errorf("a journal has no option %q", name)
		}
	}
	return nil
}

// setExtended reads the list of -E.
func (o *Options) setExtended(list string) error {
	for item := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(item, "=")
		if err := o.setExtendedOne(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (o *Options) setExtendedOne(name, value string) (err error) {
	switch name {
	case "discard", "nodiscard", "lazy_itable_init", "lazy_journal_init", "assume_storage_prezeroed":
		// Unwritten tables and journal are holes either way.
	case "desc_size", "desc-size":
		if value != "64" {
			err = errUnwritten
		}
	case "hash_seed":
		o.HashSeed, err = parseUUID(value)
	case "resize":
		err = o.setResize(value)
	case "stride":
		var n int
		n, err = parseInt(value, 1<<16-1)
		o.Stride = uint16(n)
	case "stripe_width", "stripe-width":
		var n int
		n, err = parseInt(value, 1<<32-1)
		o.StripeWidth = uint32(n)
	case "android_sparse", "encoding", "encoding_flags", "mmp_update_interval", "no_copy_xattrs", "num_backup_sb",
		"offset", "orphan_file_size", "packed_meta_blocks", "quotatype", "root_owner", "test_fs":
		err = errUnwritten
	default:
		err = errors.New("mke2fs has no extended option of that name")
	}
	return err
}

// setResize reads the size of -E resize: blocks, or bytes if it has a unit.
func (o *Options) setResize(value string) error {
	n, err := parseSize(value)
	if err == nil && n == 0 {
		err = errors.New("it is a size above 0")
	}
	o.ResizeMax, o.ResizeMaxBlocks = n, 0
	if value != "" && value[len(value)-1] >= '0' && value[len(value)-1] <= '9' {
		o.ResizeMax, o.ResizeMaxBlocks = 0, n
	}
	return err
}

// parseInt reads a number from 0 to most, decimal, or octal after 0 or
// hexadecimal after 0x.
func parseInt(s string, most int64) (int, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < 0 || n > most || strings.Contains(s, "_") {
		return 0, fmt.Errorf("%q is no number from 0 to %d", s, most)
	}
	return int(n), nil
}

// parseSize reads a number with an optional unit: s for sectors of 512 bytes,
// k, m, g or t for powers of 1024.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if s != "" && !strings.HasPrefix(s, "0x") {
		if i := strings.IndexByte("kmgt", s[len(s)-1]|0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*(i+1)
		} else if s[len(s)-1] == 's' {
			digits, shift = s[:len(s)-1], 9
		}
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || n < 0 || n > 1<<62>>shift || strings.Contains(digits, "_") {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n << shift, nil
}

// parseUUID reads 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
func parseUUID(s string) (out [16]byte, err error) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		if n, err := hex.Decode(out[:], []byte(strings.ReplaceAll(s, "-", ""))); err == nil && n == 16 {
			return out, nil
		}
	}
	return out, fmt.Errorf("%q is no UUID", s)
}
