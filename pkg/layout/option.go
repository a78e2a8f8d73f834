package layout

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// options are what the commands of LVM are told in a configuration, apart from
// what their keys say. Zero values are LVM's own defaults.
type options struct {
	uuid            string // -u
	labelSector     int64  // --labelsector
	metadataSize    int64  // bytes, --metadatasize
	dataAlignment   int64  // bytes, --dataalignment
	dataOffset      int64  // bytes, --dataalignmentoffset
	size            int64  // bytes, --setphysicalvolumesize
	extentSize      int64  // bytes, -s
	maxLV, maxPV    int64  // -l and -p of vgcreate
	tags            []string
	needRestoreFile bool
}

// option is one that a command knows.
type option struct {
	long  string
	short byte // 0: none
	value bool // it takes one
	use   func(o *options, value string) error
}

// optionError is a fault of one item of a list of options.
type optionError struct {
	item    int
	message string
}

func (e *optionError) Error() string { return e.message }

// parseOptions reads the options that command is given, as getopt_long(3) does
// but without abbreviations.
func parseOptions(command string, known []option, items []string) (options, error) {
	o := options{labelSector: 1, needRestoreFile: true}
	for i := 0; i < len(items); i++ {
		fail := func(format string, args ...any) (options, error) {
			return o, &optionError{i, fmt.Sprintf(format, args...)}
		}
		text := items[i]
		names, value, hasValue := splitOption(text, known)
		if len(names) == 0 {
			return fail("%s is given %q, which is no option", command, text)
		}
		for k, name := range names {
			at := findOption(known, name)
			if at == nil {
				return fail("the option %s of %s is not known here", name, command)
			}
			v := ""
			switch last := k == len(names)-1; {
			case at.value && last && hasValue:
				v = value
			case at.value && last && i+1 < len(items):
				i++
				v = items[i]
			case at.value:
				return fail("the option %s of %s needs a value", name, command)
			case last && hasValue:
				return fail("the option %s of %s takes no value", name, command)
			}
			if err := at.use(&o, v); err != nil {
				return fail("the option %s of %s %v", name, command, err)
			}
		}
	}
	if o.uuid != "" && o.needRestoreFile {
		return o, &optionError{0, "the option --uuid of " + command + " needs --norestorefile"}
	}
	return o, nil
}

// splitOption gives the names that stand in one item, several if it is a
// cluster of short ones as "-fy", and the value that follows in the same item.
func splitOption(text string, known []option) (names []string, value string, hasValue bool) {
	if strings.HasPrefix(text, "--") && len(text) > 2 {
		name, value, ok := strings.Cut(text, "=")
		return []string{name}, value, ok
	}
	if !strings.HasPrefix(text, "-") || len(text) < 2 || text == "--" {
		return nil, "", false
	}
	for i := 1; i < len(text); i++ {
		name := "-" + text[i:i+1]
		names = append(names, name)
		if at := findOption(known, name); at == nil || at.value {
			return names, text[i+1:], i+1 < len(text) && at != nil
		}
	}
	return names, "", false
}

func findOption(known []option, name string) *option {
	for i := range known {
		if at := &known[i]; name == "--"+at.long || at.short != 0 && name == "-"+string(at.short) {
			return at
		}
	}
	return nil
}

// none is for what changes how a command works and not what it makes.
func none(*options, string) error { return nil }

// refuse is for what asks for something that is not made here.
func refuse(why string) func(*options, string) error {
	return func(*options, string) error { return errors.New("is not supported: " + why) }
}

// only takes the values for which nothing changes.
func only(why string, values ...string) func(*options, string) error {
	return func(_ *options, value string) error {
		for _, v := range values {
			if strings.EqualFold(value, v) {
				return nil
			}
		}
		return fmt.Errorf("with %q is not supported: %s", value, why)
	}
}

// general are the options that all three commands know.
func general() []option {
	return []option{
		{"yes", 'y', false, none},
		{"quiet", 'q', false, none},
		{"verbose", 'v', false, none},
		{"debug", 'd', false, none},
		{"nohints", 0, false, none},
		{"nolocking", 0, false, none},
		{"autobackup", 'A', true, only("it is y or n", "y", "n")},
		{"zero", 'Z', true, only("it is y or n", "y", "n")},
		{"test", 't', false, refuse("nothing would be made")},
		{"config", 0, true, refuse("no configuration of LVM is read")},
		{"profile", 0, true, refuse("no configuration of LVM is read")},
		{"commandprofile", 0, true, refuse("no configuration of LVM is read")},
		{"metadataprofile", 0, true, refuse("no configuration of LVM is read")},
		{"devices", 0, true, refuse("there are no devices")},
		{"devicesfile", 0, true, refuse("there are no devices")},
	}
}

const badCopies = "every physical volume holds one copy of the metadata"

// metadataOptions are those of pvcreate which vgcreate has too.
func metadataOptions() []option {
	return []option{
		{"metadatatype", 'M', true, only("there is lvm2 alone", "2", "lvm2")},
		{"pvmetadatacopies", 0, true, only(badCopies, "1")},
		{"metadatasize", 0, true, sizeOption(mebibyte, func(o *options, n int64) error {
			o.metadataSize = n
			return between(n, 8*kibibyte, gibibyte)
		})},
		{"dataalignment", 0, true, sizeOption(kibibyte, func(o *options, n int64) error {
			o.dataAlignment = n
			if n%(4*kibibyte) != 0 {
				return errors.New("must be a multiple of 4 KiB")
			}
			return between(n, 0, gibibyte)
		})},
		{"dataalignmentoffset", 0, true, sizeOption(kibibyte, func(o *options, n int64) error {
			o.dataOffset = n
			return between(n, 0, gibibyte)
		})},
	}
}

func pvcreateOptions() []option {
	return append(append(general(), metadataOptions()...), []option{
		{"force", 'f', false, none},
		{"metadatacopies", 0, true, only(badCopies, "1")},
		{"metadataignore", 0, true, only("the metadata would not be found", "n")},
		{"norestorefile", 0, false, func(o *options, _ string) error { o.needRestoreFile = false; return nil }},
		{"restorefile", 0, true, refuse("no backup of metadata is read")},
		{"bootloaderareasize", 0, true, refuse("no such area is made")},
		{"uuid", 'u', true, useUUID},
		{"labelsector", 0, true, func(o *options, value string) (err error) {
			if o.labelSector, err = strconv.ParseInt(value, 10, 64); err != nil || o.labelSector < 0 || o.labelSector > 3 {
				return fmt.Errorf("is %q and not a number from 0 to 3", value)
			}
			return nil
		}},
		{"setphysicalvolumesize", 0, true, sizeOption(mebibyte, func(o *options, n int64) error {
			o.size = n
			return nil
		})},
	}...)
}

func vgcreateOptions() []option {
	late := "it is for physical volumes that vgcreate makes, and these are made before: give it to the pvs"
	return append(general(), []option{
		{"force", 'f', false, none},
		{"metadatatype", 'M', true, only("there is lvm2 alone", "2", "lvm2")},
		{"metadatasize", 0, true, refuse(late)},
		{"dataalignment", 0, true, refuse(late)},
		{"dataalignmentoffset", 0, true, refuse(late)},
		{"labelsector", 0, true, refuse(late)},
		{"pvmetadatacopies", 0, true, refuse(late)},
		{"metadatacopies", 0, true, only(badCopies, "all", "unmanaged", "0")},
		{"vgmetadatacopies", 0, true, only(badCopies, "all", "unmanaged", "0")},
		{"physicalextentsize", 's', true, sizeOption(mebibyte, useExtentSize)},
		{"maxlogicalvolumes", 'l', true, count(func(o *options, n int64) { o.maxLV = n })},
		{"maxphysicalvolumes", 'p', true, count(func(o *options, n int64) { o.maxPV = n })},
		{"addtag", 0, true, useTag},
		{"alloc", 0, true, only("extents are given out as the policy normal does", "normal")},
		{"shared", 0, false, refuse("a machine of its own shares no disks")},
		{"locktype", 0, true, only("a machine of its own shares no disks", "none")},
		{"systemid", 0, true, refuse("only the machine of that id would use the group")},
		{"setautoactivation", 0, true, only("the volumes would not be found at boot", "y")},
	}...)
}

func lvcreateOptions() []option {
	linear := "logical volumes are linear"
	thin := "thin pools and thin volumes are not made"
	sized := "sizes are given by the keys size and extents"
	return append(general(), []option{
		{"noudevsync", 0, false, none},
		{"type", 0, true, only(linear, "linear", "striped")},
		{"stripes", 'i', true, only(linear, "1")},
		{"stripesize", 'I', true, refuse(linear)},
		{"mirrors", 'm', true, only(linear, "0")},
		{"snapshot", 's', false, refuse(linear)},
		{"thin", 'T', false, refuse(thin)},
		{"thinpool", 0, true, refuse(thin)},
		{"virtualsize", 'V', true, refuse(thin)},
		{"poolmetadatasize", 0, true, refuse(thin)},
		{"chunksize", 'c', true, refuse(thin)},
		{"cache", 'H', false, refuse(linear)},
		{"cachepool", 0, true, refuse(linear)},
		{"vdo", 0, false, refuse(linear)},
		{"size", 'L', true, refuse(sized)},
		{"extents", 'l', true, refuse(sized)},
		{"name", 'n', true, refuse("the name is given by the key name")},
		{"activate", 'a', true, only("whether it is active is no property of the volume", "y", "ay", "ey", "ly", "sy")},
		{"wipesignatures", 'W', true, only("it is y or n", "y", "n")},
		{"monitor", 0, true, only("it is y or n", "y", "n")},
		{"ignoreactivationskip", 'K', false, none},
		{"ignoremonitoring", 0, false, none},
		{"setactivationskip", 'k', true, only("the volume would not be found at boot", "n")},
		{"setautoactivation", 0, true, only("the volume would not be found at boot", "y")},
		{"contiguous", 'C', true, only("extents are given out as the policy normal does", "n")},
		{"alloc", 0, true, only("extents are given out as the policy normal does", "normal", "inherit")},
		{"permission", 'p', true, only("no file system could be made on it", "rw")},
		{"readahead", 'r', true, only("it is left to the kernel", "auto")},
		{"persistent", 'M', true, only("the number of the device is left to the kernel", "n")},
		{"major", 'j', true, refuse("the number of the device is left to the kernel")},
		{"minor", 0, true, refuse("the number of the device is left to the kernel")},
		{"addtag", 0, true, useTag},
	}...)
}

var (
	lvmUUIDPattern = regexp.MustCompile(`^[A-Za-z0-9!#]{6}(-?[A-Za-z0-9!#]{4}){5}-?[A-Za-z0-9!#]{6}$`)
	tagPattern     = regexp.MustCompile(`^@?[A-Za-z0-9_+.-][A-Za-z0-9_+.\-/=!:&#]*$`)
	lvmSizePattern = regexp.MustCompile(`^([0-9]+\.?[0-9]*)([bskmgtpe]?)(i?b)?$`)
)

func useUUID(o *options, value string) error {
	if !lvmUUIDPattern.MatchString(value) {
		return fmt.Errorf("is %q and no UUID of LVM", value)
	}
	plain := strings.ReplaceAll(value, "-", "")
	o.uuid = strings.Join([]string{plain[:6], plain[6:10], plain[10:14], plain[14:18], plain[18:22], plain[22:26], plain[26:]}, "-")
	return nil
}

func useTag(o *options, value string) error {
	if !tagPattern.MatchString(value) || len(value) > 1024 {
		return fmt.Errorf("is %q and no tag", value)
	}
	o.tags = append(o.tags, strings.TrimPrefix(value, "@"))
	return nil
}

func useExtentSize(o *options, n int64) error {
	o.extentSize = n
	if n&(n-1) != 0 && n%(128*kibibyte) != 0 {
		return errors.New("must be a power of 2 or a multiple of 128 KiB")
	}
	return between(n, 512, 1<<40)
}

func between(n, least, most int64) error {
	if n < least || n > most {
		return fmt.Errorf("is %s and not from %s to %s", human(n), human(least), human(most))
	}
	return nil
}

func count(set func(*options, int64)) func(*options, string) error {
	return func(o *options, value string) error {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("is %q and no number", value)
		}
		set(o, int64(n))
		return nil
	}
}

// sizeOption reads a size as LVM does: units in either case count by 1024, s is
// a sector of 512 bytes, and without one the size is in the option's own unit.
func sizeOption(unit int64, set func(*options, int64) error) func(*options, string) error {
	return func(o *options, value string) error {
		m := lvmSizePattern.FindStringSubmatch(strings.ToLower(value))
		if m == nil {
			return fmt.Errorf("is %q and no size", value)
		}
		factor := unit
		switch at := strings.Index("kmgtpe", m[2]); {
		case m[2] == "b":
			factor = 1
		case m[2] == "s":
			factor = 512
		case m[2] != "":
			factor = kibibyte << (10 * at)
		}
		number, err := strconv.ParseFloat(m[1], 64)
		if bytes := number * float64(factor); err != nil || bytes > maxSize || bytes != math.Floor(bytes) || int64(bytes)%512 != 0 {
			return fmt.Errorf("is %q and not whole sectors of 512 bytes", value)
		}
		return set(o, int64(number*float64(factor)))
	}
}
