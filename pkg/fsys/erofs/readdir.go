package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	direntSize   = 12
	fileSocket   = 6         // EROFS_FT_SOCK
	maxDirectory = 128 << 20 // bytes of a directory that is taken
	maxName      = 255
)

// Entries lists a directory. Sockets are left out.
func (f *FS) Entries(directory uint64) ([]tree.Entry, error) {
	in, err := f.readInode(directory)
	if err != nil {
		return nil, err
	}
	switch {
	case in.mode&tree.TypeMask != tree.TypeDir:
		return nil, errors.New("not a directory")
	case in.size > maxDirectory:
		return nil, fmt.Errorf("a directory of %d bytes is too large: at most %d", in.size, maxDirectory)
	case in.size == 0:
		return nil, nil
	}
	content, err := f.content(in)
	if err != nil {
		return nil, err
	}
	var out []tree.Entry
	block := make([]byte, min(f.BlockSize, in.size))
	for at := int64(0); at < in.size; at += f.BlockSize {
		b := block[:min(f.BlockSize, in.size-at)]
		if n, err := content.ReadAt(b, at); n < len(b) {
			return nil, err
		}
		if out, err = appendEntries(out, b); err != nil {
			return nil, fmt.Errorf("reading its entries: block %d: %w", at/f.BlockSize, err)
		}
	}
	return out, nil
}

// appendEntries decodes a block of a directory: a row of struct erofs_dirent,
// and their names behind it in the same order.
func appendEntries(out []tree.Entry, b []byte) ([]tree.Entry, error) {
	le := binary.LittleEndian
	if len(b) < direntSize {
		return nil, fmt.Errorf("it has %d bytes", len(b))
	}
	names := int(le.Uint16(b[8:])) // where the first one begins, and the row ends
	if names < direntSize || names%direntSize != 0 || names >= len(b) {
		return nil, fmt.Errorf("its first name is at byte %d of %d", names, len(b))
	}
	for at := 0; at < names; at += direntSize {
		from, to := int(le.Uint16(b[at+8:])), len(b)
		if at+direntSize < names {
			to = int(le.Uint16(b[at+direntSize+8:]))
		}
		if from < names || to <= from || to > len(b) {
			return nil, fmt.Errorf("a name goes from byte %d to %d", from, to)
		}
		name := b[from:to]
		if to == len(b) { // what is left of the block is zeros
			name, _, _ = bytes.Cut(name, []byte{0})
		}
		if len(name) > maxName {
			return nil, fmt.Errorf("a name of %d bytes is too long", len(name))
		}
		if s := string(name); s != "." && s != ".." && b[at+10] != fileSocket {
			out = append(out, tree.Entry{Name: s, Number: le.Uint64(b[at:])})
		}
	}
	return out, nil
}
