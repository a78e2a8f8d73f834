package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// Source is a block device configuration and where it came from.
type Source struct {
	Name    string // a path, or what it is called in errors
	Element string // the element that gave it, or ""
	Data    []byte
}

// ElementDir is an element and the directory that it was found in.
type ElementDir struct{ Name, Dir string }

// Default is the configuration when nobody gives one: one file system on the
// whole of the image.
func Default() Source {
	return Source{Name: "the default block device configuration", Data: []byte(`- local_loop:
    name: image0
    mkfs:
      name: mkfs_root
      mount:
        mount_point: /
        fstab:
          options: defaults
          fsck-passno: 1
`)}
}

// maxConfigBytes bounds a configuration.
const maxConfigBytes = 1 << 20

// Find chooses the configuration: config, the value of DIB_BLOCK_DEVICE_CONFIG,
// which is YAML or file://PATH with a PATH that may be relative to the working
// directory; else the file of the first of the elements that has one,
// block-device-ARCH.yaml before block-device-default.yaml; else [Default].
func Find(config string, elements []ElementDir, arch string) (Source, error) {
	if name, ok := strings.CutPrefix(config, "file://"); ok {
		if name == "" {
			return Source{}, errors.New("cannot read the block device configuration of DIB_BLOCK_DEVICE_CONFIG: file:// names no file; write file://PATH")
		}
		data, err := element.ReadFile(name, maxConfigBytes)
		if err != nil {
			err = fmt.Errorf("cannot read the block device configuration of DIB_BLOCK_DEVICE_CONFIG: %w", err)
		}
		return Source{Name: name, Data: data}, err
	}
	if config != "" {
		return Source{Name: "DIB_BLOCK_DEVICE_CONFIG", Data: []byte(config)}, nil
	}
	if arch == "ppc64le" {
		arch = "ppc64el"
	}
	for _, e := range elements {
		for _, kind := range []string{arch, "default"} {
			name := filepath.Join(e.Dir, "block-device-"+kind+".yaml")
			if _, err := os.Stat(name); err != nil {
				continue
			}
			data, err := element.ReadFile(name, maxConfigBytes)
			if err != nil {
				err = fmt.Errorf("cannot read the block device configuration of element %s: %w", e.Name, err)
			}
			return Source{Name: name, Element: e.Name, Data: data}, err
		}
	}
	return Default(), nil
}
