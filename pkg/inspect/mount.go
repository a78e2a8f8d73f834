package inspect

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// mounted is a tree.Source that joins file systems as mounting them on each
// other would. The number of an inode is that of its file system's slot in the
// upper byte, and its own in the rest.
type mounted struct {
	sources []tree.Source
	covered map[uint64]uint64 // a directory with a mount on it, and the root of what is mounted
}

// slotBits are the upper bits of a number. No file system uses these.
const slotBits = 56

var errNumber = errors.New("the inode's number is too large")

// newMounted starts with the file system that holds "/".
func newMounted(root tree.Source) *mounted {
	return &mounted{sources: []tree.Source{root}, covered: map[uint64]uint64{}}
}

// mount puts a file system on the directory at a path.
func (m *mounted) mount(s tree.Source, path string) error {
	at, err := tree.Resolve(m, path)
	if err != nil {
		return err
	}
	switch {
	case !at.Inode.IsDir():
		return fmt.Errorf("cannot mount on %s: it is not a directory", path)
	case at.Number == m.Root():
		return fmt.Errorf("cannot mount on %s: it is the root directory", path)
	}
	slot := len(m.sources)
	if slot >= 1<<(64-slotBits) {
		return fmt.Errorf("cannot mount on %s: there are too many file systems", path)
	}
	root, err := number(slot, s.Root())
	if err != nil {
		return err
	}
	m.sources = append(m.sources, s)
	m.covered[at.Number] = root
	return nil
}

func number(slot int, own uint64) (uint64, error) {
	if own>>slotBits != 0 {
		return 0, errNumber
	}
	return uint64(slot)<<slotBits | own, nil
}

// below gives the file system of a number and the number that it has there.
func (m *mounted) below(n uint64) (tree.Source, int, uint64, error) {
	slot := int(n >> slotBits)
	if slot >= len(m.sources) {
		return nil, 0, 0, errors.New("no such inode")
	}
	return m.sources[slot], slot, n & (1<<slotBits - 1), nil
}

func (m *mounted) Root() uint64 { return m.sources[0].Root() }

func (m *mounted) Inode(n uint64) (*tree.Inode, error) {
	s, _, own, err := m.below(n)
	if err != nil {
		return nil, err
	}
	return s.Inode(own)
}

// FoldsCase tells whether a directory belongs to a file system in which upper and
// lower case are the same.
func (m *mounted) FoldsCase(directory uint64) bool {
	s, _, own, err := m.below(directory)
	f, ok := s.(tree.CaseFolder)
	return err == nil && ok && f.FoldsCase(own)
}

func (m *mounted) Entries(directory uint64) ([]tree.Entry, error) {
	s, slot, own, err := m.below(directory)
	if err != nil {
		return nil, err
	}
	entries, err := s.Entries(own)
	if err != nil {
		return nil, err
	}
	entries = slices.Clone(entries)
	for i, e := range entries {
		if entries[i].Number, err = number(slot, e.Number); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		for { // a mount may lie on a mount
			root, covered := m.covered[entries[i].Number]
			if !covered {
				break
			}
			entries[i].Number = root
		}
	}
	return entries, nil
}
