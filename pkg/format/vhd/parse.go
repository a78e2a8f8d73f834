package vhd

import (
	"errors"
	"fmt"
	"strings"
)

// ParseOptions reads options as qemu-img convert -o takes them for vpc, which
// is QEMU's name of the format: "subformat=fixed,force_size=on". A comma in a
// value is written twice. Other than in QEMU, force_size is on when it is not
// given. An option that QEMU does not know, or that asks for what this package
// does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	for _, field := range splitOptions(s) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return Options{}, fmt.Errorf("cannot use vhd option %q: it has no value, write %s=VALUE", field, field)
		}
		if err := o.set(name, value); err != nil {
			return Options{}, fmt.Errorf("cannot use vhd option %q: %w", field, err)
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

func (o *Options) set(name, value string) error {
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
	case "force_size":
		on, err := parseSwitch(value)
		o.CHS = err == nil && !on
		return err
	case "size":
		return errors.New("the size is that of the disk")
	}
	return fmt.Errorf("vhd has no option %q", name)
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
