// Package option reads options of image formats as qemu-img convert -o takes
// them: "compat=0.10,cluster_size=2M". It knows the names of none: each format
// says which options it has.
package option

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Parse calls set with every option of a format, in order, and says of an error
// which option it is about. A comma in a value is written twice.
func Parse(format, options string, set func(name, value string) error) error {
	for _, field := range split(options) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("cannot use %s option %q: it has no value, write %s=VALUE", format, field, field)
		}
		if err := set(name, value); err != nil {
			return fmt.Errorf("cannot use %s option %q: %w", format, field, err)
		}
	}
	return nil
}

// split cuts at single commas; a double one stands for itself.
func split(s string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 == len(s) || s[i+1] != ',' {
				fields = append(fields, field.String())
				field.Reset()
				continue
			}
			i++
		}
		field.WriteByte(s[i])
	}
	if field.Len() > 0 {
		fields = append(fields, field.String())
	}
	return fields
}

// Switch reads on or off, and the other words that QEMU has for them.
func Switch(value string) (bool, error) {
	switch value {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, errors.New("want on or off")
}

// Size reads a number of bytes with QEMU's suffixes.
func Size(value string) (n uint64, ok bool) {
	digits, shift := value, 0
	if value != "" {
		if i := strings.IndexByte("bkmgtpe", value[len(value)-1]|0x20); i >= 0 {
			digits, shift = value[:len(value)-1], 10*i
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || bits.Len64(n)+shift > 64 {
		return 0, false
	}
	return n << shift, true
}
