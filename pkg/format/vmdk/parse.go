package vmdk

import (
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/option"
)

// ParseOptions reads options as qemu-img convert -o takes them for vmdk:
// "subformat=streamOptimized,adapter_type=lsilogic". A comma in a value is
// written twice. An option that QEMU does not know, or that asks for what this
// package does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	compat6 := false
	err := option.Parse("vmdk", s, func(name, value string) (err error) {
		if name == "compat6" {
			compat6, err = option.Switch(value)
			return err
		}
		if err := o.set(name, value); err != nil {
			return err
		}
		return o.Check()
	})
	if err != nil {
		return Options{}, err
	}
	if compat6 {
		if o.HWVersion != "" {
			return Options{}, fmt.Errorf("cannot use vmdk options %q: compat6 and hwversion exclude each other", s)
		}
		o.HWVersion = "6"
	}
	return o, nil
}

func (o *Options) set(name, value string) error {
	switch name {
	case "subformat":
		return o.setSubformat(value)
	case "adapter_type":
		o.AdapterType = value
	case "hwversion":
		o.HWVersion = value
	case "toolsversion":
		o.ToolsVersion = value
	case "zeroed_grain":
		on, err := option.Switch(value)
		if err == nil && on {
			err = errors.New("grains of zeros take no space without it, and VMware does not read it")
		}
		return err
	case "size":
		return errors.New("the size is that of the disk")
	case "backing_file", "backing_fmt":
		return errors.New("the file holds the whole disk and has no parent")
	default:
		return fmt.Errorf("vmdk has no option %q", name)
	}
	if value == "" {
		return errors.New("the value is missing")
	}
	return nil
}

func (o *Options) setSubformat(value string) error {
	switch value {
	case "monolithicSparse":
		o.StreamOptimized = false
	case "streamOptimized":
		o.StreamOptimized = true
	case "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat":
		return errors.New("the disk would be several files; want monolithicSparse or streamOptimized")
	default:
		return errors.New("want monolithicSparse or streamOptimized")
	}
	return nil
}
