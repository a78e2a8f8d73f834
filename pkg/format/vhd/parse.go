package vhd

import (
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/option"
)

// ParseOptions reads options as qemu-img convert -o takes them for vpc, which
// is QEMU's name of the format: "subformat=fixed,force_size=on". A comma in a
// value is written twice. Other than in QEMU, force_size is on when it is not
// given. An option that QEMU does not know, or that asks for what this package
// does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	if err := option.Parse("vhd", s, o.set); err != nil {
		return Options{}, err
	}
	return o, nil
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
		on, err := option.Switch(value)
		o.CHS = err == nil && !on
		return err
	case "size":
		return errors.New("the size is that of the disk")
	}
	return fmt.Errorf("vhd has no option %q", name)
}
