package vdi

import (
	"fmt"
	"strings"
)

// ParseOptions reads options as qemu-img convert -o takes them for vdi, which
// has few: "static=off,preallocation=off". An option that QEMU does not know, or
// that asks for what this package does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	if s == "" {
		return Options{}, nil
	}
	for field := range strings.SplitSeq(s, ",") {
		if err := check(field); err != nil {
			return Options{}, fmt.Errorf("cannot use vdi option %q: %w", field, err)
		}
	}
	return Options{}, nil
}

func check(field string) error {
	name, value, ok := strings.Cut(field, "=")
	if !ok {
		return fmt.Errorf("it has no value, write %s=VALUE", field)
	}
	switch name {
	case "static":
		switch value {
		case "off", "no", "false", "n":
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
