package vhdx

import (
	"errors"
	"fmt"
	"math"

	"github.com/dibber-project/dibber/pkg/format/option"
)

// ParseOptions reads options as qemu-img convert -o takes them for vhdx:
// "subformat=fixed,block_size=32M". A comma in a value is written twice. An
// option that QEMU does not know, or that asks for what this package does not
// write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	err := option.Parse("vhdx", s, func(name, value string) error {
		if err := o.set(name, value); err != nil {
			return err
		}
		return o.Check()
	})
	if err != nil {
		return Options{}, err
	}
	return o, nil
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
		on, err := option.Switch(value)
		o.NotPresent = err == nil && !on
		return err
	case "size":
		return errors.New("the size is that of the disk")
	}
	return fmt.Errorf("vhdx has no option %q", name)
}

func parseSize(value string) (int64, error) {
	n, ok := option.Size(value)
	if !ok || n > math.MaxInt64 {
		return 0, errors.New("want a number of bytes as 1048576 or 1M")
	}
	return int64(n), nil
}
