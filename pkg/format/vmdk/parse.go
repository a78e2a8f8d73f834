package vmdk

import (
	"errors"
	"fmt"
	"strings"
)

// ParseOptions reads options as qemu-img convert -o takes them for vmdk:
// "subformat=streamOptimized,adapter_type=lsilogic". A comma in a value is
// written twice. An option that QEMU does not know, or that asks for what this
// package does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	compat6 := false
	for _, field := range splitOptions(s) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return Options{}, fmt.Errorf("cannot use vmdk option %q: it has no value, write %s=VALUE", field, field)
		}
		var err error
		if name == "compat6" {
			compat6, err = parseSwitch(value)
		} else if err = o.set(name, value); err == nil {
			err = o.Check()
		}
		if err != nil {
			return Options{}, fmt.Errorf("cannot use vmdk option %q: %w", field, err)
		}
	}
	if compat6 {
		if o.HWVersion != "" {
			return Options{}, fmt.Errorf("cannot use vmdk options %q: compat6 and hwversion exclude each other", s)
		}
		o.HWVersion = "6"
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
		return o.setSubformat(value)
	case "adapter_type":
		o.AdapterType = value
	case "hwversion":
		o.HWVersion = value
	case "toolsversion":
		o.ToolsVersion = value
	case "zeroed_grain":
		on, err := parseSwitch(value)
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

func parseSwitch(value string) (bool, error) {
	switch value {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, errors.New("want on or off")
}
