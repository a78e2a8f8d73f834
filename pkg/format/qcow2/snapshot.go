package qcow2

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Snapshot is an internal snapshot. Only the present state of a disk is read,
// snapshots are listed.
type Snapshot struct {
	ID, Name  string
	Time      time.Time
	StateSize int64 // bytes of a virtual machine's saved state; 0: of the disk alone
}

// snapshotHeaderLength is the fixed part of an entry: section "Snapshots".
const snapshotHeaderLength = 40

// readSnapshots reads the snapshot table. Entries have no fixed length, so they
// are read one behind the other.
func readSnapshots(file sparse.Image, h *header) ([]Snapshot, error) {
	if h.snapshots == 0 {
		return nil, nil
	}
	const maxTable = 64 << 20
	length := min(file.Size()-h.snapshotsAt, maxTable)
	r := bufio.NewReader(io.NewSectionReader(file, h.snapshotsAt, length))
	var found []Snapshot
	for i := range h.snapshots {
		s, err := readSnapshot(r)
		if err != nil {
			return nil, fmt.Errorf("reading entry %d of the snapshot table: %w", i, err)
		}
		found = append(found, s)
	}
	return found, nil
}

func readSnapshot(r *bufio.Reader) (Snapshot, error) {
	fixed := make([]byte, snapshotHeaderLength)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return Snapshot{}, err
	}
	be := binary.BigEndian
	idLength, nameLength := int(be.Uint16(fixed[12:])), int(be.Uint16(fixed[14:]))
	extraLength := int(be.Uint32(fixed[36:]))
	if extraLength > 1024 {
		return Snapshot{}, fmt.Errorf("it has %d bytes of extra data", extraLength)
	}
	rest := make([]byte, (extraLength+idLength+nameLength+7)/8*8)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Snapshot{}, err
	}
	extra, names := rest[:extraLength], rest[extraLength:]
	state := uint64(be.Uint32(fixed[32:]))
	if len(extra) >= 8 {
		state = be.Uint64(extra)
	}
	return Snapshot{
		ID:        string(names[:idLength]),
		Name:      string(names[idLength : idLength+nameLength]),
		Time:      time.Unix(int64(be.Uint32(fixed[16:])), int64(be.Uint32(fixed[20:]))).UTC(),
		StateSize: int64(min(state, 1<<62)),
	}, nil
}
