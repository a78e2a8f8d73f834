package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// The fields of a QCOW2 header that are looked at, by offset. See "The header"
// in QEMU's docs/interop/qcow2.rst.
const (
	qcow2Magic                = "QFI\xfb"
	qcow2Version              = 4
	qcow2BackingFileOffset    = 8
	qcow2IncompatibleFeatures = 72
	qcow2HeaderLength         = 104

	qcow2ExternalDataFile = 1 << 2 // of the incompatible features
)

// probe tells a QCOW2 image from a raw one by its first bytes, so that QEMU
// need not guess: a raw disk's content is the guest's and could pose as any
// format. A QCOW2 that leans on another file is refused, because its maker
// chose that file's name and the guest would read it.
func probe(image string) (format string, err error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return "", err
	} else if st.IsDir() {
		return "", errors.New("it is a directory")
	}
	header := make([]byte, qcow2HeaderLength)
	if _, err := io.ReadFull(f, header); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		if errors.Is(err, io.EOF) {
			return "", errors.New("the file is empty")
		}
		return "", err
	}
	if string(header[:4]) != qcow2Magic {
		return "raw", nil
	}
	if binary.BigEndian.Uint64(header[qcow2BackingFileOffset:]) != 0 {
		return "", errors.New("it is a qcow2 overlay on another file; flatten it with: qemu-img convert -O qcow2")
	}
	version := binary.BigEndian.Uint32(header[qcow2Version:])
	features := binary.BigEndian.Uint64(header[qcow2IncompatibleFeatures:])
	if version >= 3 && features&qcow2ExternalDataFile != 0 {
		return "", errors.New("it is a qcow2 with its data in another file; join them with: qemu-img convert -O qcow2")
	}
	return "qcow2", nil
}

// driverFor checks the user's word for a format against what the image is.
func driverFor(image, format string) (string, error) {
	found, err := probe(image)
	switch {
	case err != nil:
		return "", err
	case format == "":
		return found, nil
	case format == "qcow2" && found != "qcow2":
		return "", errors.New("it is no qcow2 image")
	case format == "raw", format == "qcow2":
		return format, nil
	}
	return "", fmt.Errorf("format %q cannot be booted, only raw and qcow2", format)
}
