package vdi

import (
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/option"
)

// ParseOptions reads options as qemu-img convert -o takes them for vdi, which
// has few: "static=off,preallocation=off". An option that QEMU does not know, or
// that asks for what this package does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	return Options{}, option.Parse("vdi", s, check)
}

func check(name, value string) error {
	switch name {
	case "static":
		if on, err := option.Switch(value); err == nil && !on {
			return nil
		}
		return fmt.Errorf("only dynamic files are written")
	case "preallocation":
		if value == "off" {
			return nil
		}
		return fmt.Errorf("only dynamic files are written")
	case "size":
		return fmt.Errorf("the size is that of the disk")
	}
	return fmt.Errorf("vdi has no option %q", name)
}
