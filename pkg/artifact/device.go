package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenDevice opens the block device at path to be written in place, and makes
// its first size bytes read as zeros, as those of a new file do. What was on it
// is lost, whether the file is committed or discarded. A device that is mounted
// or has less than size bytes is refused before anything is lost.
func OpenDevice(ctx context.Context, path string, size int64) (*File, error) {
	f, err := openDevice(path, size)
	if err == nil {
		if err = zero(ctx, f, size); err == nil {
			return &File{File: f, path: path, device: true}, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("cannot write to device %s: %w", path, cause(err))
}

func openDevice(path string, size int64) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Type() != fs.ModeDevice {
		return nil, errors.New("it is not a block device")
	}
	// With O_EXCL the kernel refuses a device that is in use.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	has, err := f.Seek(0, io.SeekEnd)
	if err == nil && has < size {
		err = fmt.Errorf("it has %d bytes, and %d are to be written", has, size)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// zero fills the first size bytes of f, by the kernel's own means where it has
// them.
func zero(ctx context.Context, f *os.File, size int64) error {
	const step = 64 << 20 // between two looks at ctx
	var zeros []byte
	for at := int64(0); at < size; at += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(step, size-at)
		if zeros == nil && zeroRange(f, at, n) == nil {
			continue
		}
		if zeros == nil {
			zeros = make([]byte, step)
		}
		if _, err := f.WriteAt(zeros[:n], at); err != nil {
			return err
		}
	}
	return nil
}

// zeroRange is the BLKZEROOUT of the kernel.
func zeroRange(f *os.File, at, n int64) error {
	r := [2]uint64{uint64(at), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}
