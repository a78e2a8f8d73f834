package xfs

import (
	"fmt"
	"strconv"
	"strings"
)

// Options are what [Plan] hands on to mkfs.xfs.
type Options struct {
	Label string   // at most 12 bytes
	UUID  [16]byte // zero: mkfs.xfs takes a random one
	Time  int64    // of making, in seconds since the epoch

	// Args are options of mkfs.xfs(8). Those that name a device, a file, a size or
	// a protofile are refused.
	Args       []string
	SectorSize int64  // bytes of the disk's sectors; 0 means 512
	TempDir    string // where the volume's metadata is while it is in use; "" for the system's
}

// refusedOptions are options of mkfs.xfs, with the suboptions meant, or none for
// all of them, that Plan decides itself.
var refusedOptions = map[string][]string{
	"-d": {"name", "file", "size", "rtinherit"}, "-l": {"logdev", "internal", "name"},
	"-r": nil, "-p": nil, "-N": nil, "-V": nil, "-c": nil, "-L": nil, "-n": {"version"},
}

// suboptions calls fn for every option in args and every suboption of it, such as
// ("-m", "crc", "0").
func suboptions(args []string, fn func(option, name, value string) error) error {
	for k := 0; k < len(args); k++ {
		option := args[k]
		if len(option) < 2 || option[0] != '-' {
			return fmt.Errorf("cannot use the mkfs option %q: it is none of mkfs.xfs", option)
		}
		values := option[2:]
		option = option[:2]
		if values == "" && strings.ContainsAny(option[1:], "bcdilLmnprs") && k+1 < len(args) {
			k++
			values = args[k]
		}
		for _, sub := range strings.Split(values, ",") {
			name, value, _ := strings.Cut(sub, "=")
			if err := fn(option, name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// check refuses options that would make something else than a volume in one file.
func (o *Options) check() error {
	return suboptions(o.Args, func(option, name, value string) error {
		refused, listed := refusedOptions[option]
		if !listed {
			return nil
		}
		if len(refused) == 0 {
			return fmt.Errorf("cannot use the mkfs option %s: it is not supported", option)
		}
		for _, r := range refused {
			if r == name {
				return fmt.Errorf("cannot use the mkfs option %s %s=%s: it is not supported", option, name, value)
			}
		}
		return nil
	})
}

// size finds the value of a suboption that is a size in bytes, or gives otherwise.
func (o *Options) size(option, suboption string, otherwise int64) int64 {
	found := otherwise
	_ = suboptions(o.Args, func(opt, name, value string) error {
		if n, ok := parseSize(value); ok && opt == option && name == suboption {
			found = n
		}
		return nil
	})
	return found
}

// parseSize reads a size as mkfs.xfs does, without those in blocks and sectors.
func parseSize(s string) (int64, bool) {
	shift := 0
	if k := strings.IndexAny(s, "kmgtKMGT"); k > 0 && k == len(s)-1 {
		shift = 10 * (1 + strings.Index("kmgt", strings.ToLower(s[k:])))
		s = s[:k]
	}
	n, err := strconv.ParseInt(s, 0, 64)
	return n << shift, err == nil && n >= 0 && n < 1<<(62-shift)
}

// has tells whether an option is there.
func (o *Options) has(option string) bool {
	found := false
	_ = suboptions(o.Args, func(opt, _, _ string) error {
		found = found || opt == option
		return nil
	})
	return found
}

// arguments gives the command line for the volume at a path.
func (o *Options) arguments(proto, path string) []string {
	args := append([]string{"-q", "-f"}, o.Args...)
	if o.Label != "" {
		args = append(args, "-L", o.Label)
	}
	if o.UUID != ([16]byte{}) {
		u := o.UUID
		args = append(args, "-m", fmt.Sprintf("uuid=%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
	}
	if !o.has("-s") {
		args = append(args, "-s", fmt.Sprintf("size=%d", max(o.SectorSize, 512)))
	}
	return append(args, "-p", proto, path)
}
