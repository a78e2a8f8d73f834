package qcow2

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/format/option"
)

// ParseOptions reads options as qemu-img convert -o takes them for qcow2:
// "compat=0.10,cluster_size=2M". A comma in a value is written twice. The
// result has a Compression only when compression_type is given, which for QEMU
// says how to compress and not whether. An option that QEMU does not know, or
// that asks for what this package does not write, is an error that names it.
func ParseOptions(s string) (Options, error) {
	var o Options
	if err := option.Parse("qcow2", s, o.set); err != nil {
		return Options{}, err
	}
	if err := o.withDefaults().check(); err != nil {
		return Options{}, fmt.Errorf("cannot use qcow2 options %q: %w", s, err)
	}
	return o, nil
}

func (o *Options) set(name, value string) error {
	switch name {
	case "compat":
		return o.setVersion(value)
	case "cluster_size":
		return o.setClusterSize(value)
	case "lazy_refcounts":
		on, err := option.Switch(value)
		o.LazyRefcounts = on
		return err
	case "refcount_bits":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 64 || n&(n-1) != 0 {
			return fmt.Errorf("want a power of two from 1 to 64")
		}
		o.RefcountBits = n
		return nil
	case "preallocation":
		return o.setPreallocation(value)
	case "compression_type":
		return o.setCompression(value)
	}
	return refuse(name, value)
}

func (o *Options) setVersion(value string) error {
	switch value {
	case "0.10", "v2":
		o.Version = 2
	case "1.1", "v3":
		o.Version = 3
	default:
		return fmt.Errorf("want 0.10 (or v2) or 1.1 (or v3)")
	}
	return nil
}

func (o *Options) setClusterSize(value string) error {
	n, ok := option.Size(value)
	if !ok {
		return fmt.Errorf("want a number of bytes as 65536 or 64k")
	}
	if n < 1<<9 || n > 1<<21 || n&(n-1) != 0 {
		return fmt.Errorf("want a power of two from 512 to 2M")
	}
	o.ClusterBits = bits.TrailingZeros64(n)
	return nil
}

func (o *Options) setPreallocation(value string) error {
	switch value {
	case "off":
		o.Preallocate = false
	case "metadata":
		o.Preallocate = true
	case "falloc", "full":
		return fmt.Errorf("the file would not be sparse, only off and metadata are written")
	default:
		return fmt.Errorf("want off or metadata")
	}
	return nil
}

func (o *Options) setCompression(value string) error {
	switch value {
	case "zlib":
		o.Compression = Zlib
	case "zstd":
		o.Compression = Zstd
	default:
		return fmt.Errorf("want zlib or zstd")
	}
	return nil
}

// refuse says why an option is not taken. Switches that QEMU knows may be off.
func refuse(name, value string) error {
	switch name {
	case "extended_l2", "encryption", "data_file_raw", "nocow":
		on, err := option.Switch(value)
		if err == nil && on {
			err = fmt.Errorf("%s is not supported", name)
		}
		return err
	case "size":
		return fmt.Errorf("the size is that of the disk")
	case "backing_file", "backing_fmt":
		return fmt.Errorf("the file holds the whole disk and has no backing file")
	case "data_file":
		return fmt.Errorf("the file holds its own data")
	}
	if strings.HasPrefix(name, "encrypt.") {
		return fmt.Errorf("encryption is not supported")
	}
	return fmt.Errorf("qcow2 has no option %q", name)
}
