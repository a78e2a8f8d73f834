package vhdx

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ParseOptions reads options as qemu-img convert -o takes them for vhdx:
// "subformat=fixed,block_size=32M". A comma in a value is written twice. An
// option that QEMU does not know, or that asks for what this package does not
// write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	for _, field := range splitOptions(s) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return Options{}, fmt.Errorf("cannot use vhdx option %q: it has no value, write %s=VALUE", field, field)
		}
		err := o.set(name, value)
		if err == nil {
			err = o.Check()
		}
		if err != nil {
			return Options{}, fmt.Errorf("cannot use vhdx option %q: %w", field, err)
		}
	}
	return o, nil
}

// splitOptions cuts at single commas; a double one stands for itself.
func splitOptions(s string) []string {
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

func (o *Options) set(name, value string) (err error) {
	switch name {
	case "subformat":
		switch value {
		case "dynamic":
			o.Fixed = false
		case "fixed":
			o.Fixed = true
		default:
			return errors.New("want dynamic or fixed")
		}
		return nil
	case "block_size":
		o.BlockSize, err = parseSize(value)
		return err
	case "log_size":
		o.LogSize, err = parseSize(value)
		return err
	case "block_state_zero":
		on, err := parseSwitch(value)
		o.NotPresent = err == nil && !on
		return err
	case "size":
		return errors.New("the size is that of the disk")
	}
	return fmt.Errorf("vhdx has no option %q", name)
}

func parseSwitch(value string) (bool, error) {
	switch value {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, errors.New("want on or off")
}

// parseSize reads a number of bytes with QEMU's suffixes.
func parseSize(value string) (int64, error) {
	digits, shift := value, 0
	if value != "" {
		if i := strings.IndexByte("bkmgtpe", value[len(value)-1]|0x20); i >= 0 {
			digits, shift = value[:len(value)-1], 10*i
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || bits.Len64(n)+shift > 63 {
		return 0, errors.New("want a number of bytes as 1048576 or 1M")
	}
	return int64(n) << shift, nil
}
