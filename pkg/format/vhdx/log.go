package vhdx

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Section 2.3, "Log".
const (
	logSector          = 4 << 10
	logEntrySignature  = "loge"
	logDataSignature   = "data"
	descriptorZero     = "zero"
	descriptorData     = "desc"
	entryHeaderSize    = 64
	descriptorSize     = 32
	maxLogSize         = 64 * mib // what a reader takes into memory
	maxZeroDescriptors = 4096     // what it replays
)

// entry is a sound entry of the log.
type entry struct {
	data     []byte // whole sectors
	tail     uint32
	sequence uint64
	flushed  uint64 // "FlushedFileOffset"
	last     uint64 // "LastFileOffset"
	count    uint32 // descriptors
}

// log is the ring of sectors in which entries lie, and what was found in it.
type log struct {
	ring    []byte
	id      guid
	entries map[int64]*entry // by their place; nil: there is no sound one
	budget  int64            // bytes that may still be looked at
}

// replay is the file as it is once what stands in its log is done.
func replay(file sparse.Image, h *header) (sparse.Image, error) {
	if h.logLength > maxLogSize {
		return nil, fmt.Errorf("the file was not closed well, and its log of %d bytes is more than is replayed; open it for writing once, as with qemu-img check -r all", h.logLength)
	}
	if h.logLength == 0 || h.logLength%mib != 0 || h.logOffset%mib != 0 {
		return nil, errors.New("the log is damaged: its place is not possible")
	}
	ring, err := readPart(file, h.logOffset, int64(h.logLength), "the log")
	if err != nil {
		return nil, err
	}
	l := &log{ring: ring, id: h.log, entries: map[int64]*entry{}, budget: 64 * int64(len(ring))}
	active, err := l.active()
	if err != nil {
		return nil, err
	}
	o := &overlay{base: file, size: file.Size(), pages: map[int64][]byte{}}
	for _, e := range active {
		if err := o.apply(e); err != nil {
			return nil, fmt.Errorf("the log is damaged: entry %d: %w", e.sequence, err)
		}
	}
	o.finish()
	return o, nil
}

// active is the newest run of entries that is whole, from its oldest entry on:
// section 2.3.3.
func (l *log) active() ([]*entry, error) {
	var heads []*entry
	for at := int64(0); at < int64(len(l.ring)); at += logSector {
		if e := l.at(at); e != nil {
			heads = append(heads, e)
		}
	}
	slices.SortFunc(heads, func(a, b *entry) int { return cmp.Compare(b.sequence, a.sequence) })
	for _, head := range heads {
		if run := l.runTo(head); run != nil {
			return run, nil
		}
	}
	return nil, errors.New("the log is damaged: no entries in it are whole")
}

// runTo is the run of entries from the tail of head to head itself, or nil.
func (l *log) runTo(head *entry) []*entry {
	var run []*entry
	at := int64(head.tail)
	var length int64
	for {
		e := l.at(at)
		if e == nil || len(run) > 0 && e.sequence != run[len(run)-1].sequence+1 || e.sequence > head.sequence {
			return nil
		}
		run = append(run, e)
		if length += int64(len(e.data)); length > int64(len(l.ring)) {
			return nil
		}
		if e == head {
			return run
		}
		at = (at + int64(len(e.data))) % int64(len(l.ring))
	}
}

// at is the entry at that place of the ring, or nil.
func (l *log) at(at int64) *entry {
	if at%logSector != 0 || at >= int64(len(l.ring)) {
		return nil
	}
	e, known := l.entries[at]
	if !known {
		e = l.decode(at)
		l.entries[at] = e
	}
	return e
}

func (l *log) decode(at int64) *entry {
	le := binary.LittleEndian
	b := l.ring[at:]
	length := int64(le.Uint32(b[8:]))
	if string(b[:4]) != logEntrySignature || guid(b[32:48]) != l.id {
		return nil
	}
	if length == 0 || length%logSector != 0 || length > int64(len(l.ring)) || length > l.budget {
		return nil
	}
	l.budget -= length
	data := b[:min(length, int64(len(b)))]
	if rest := length - int64(len(data)); rest > 0 { // round the end
		data = append(slices.Clone(data), l.ring[:rest]...)
	}
	e := &entry{
		data:     data,
		tail:     le.Uint32(b[12:]),
		sequence: le.Uint64(b[16:]),
		count:    le.Uint32(b[24:]),
		flushed:  le.Uint64(b[48:]),
		last:     le.Uint64(b[56:]),
	}
	if e.sequence == 0 || !sealed(data) {
		return nil
	}
	return e
}

// overlay is a file with changes that are kept in memory.
type overlay struct {
	base    sparse.Image
	size    int64
	pages   map[int64][]byte // sectors of the log by their place in the file
	zeros   []sparse.Extent  // older than the pages
	extents []sparse.Extent
}

// apply does what the descriptors of e say.
func (o *overlay) apply(e *entry) error {
	if e.flushed > uint64(o.base.Size()) {
		return errors.New("the file is cut off: it was longer when the log was written")
	}
	if e.last > 1<<62 {
		return errors.New("the file cannot be that long")
	}
	o.size = max(o.size, int64(e.last))
	descriptors := int64(e.count) * descriptorSize
	next := roundUp(entryHeaderSize+descriptors, logSector) // the next sector of data
	if next > int64(len(e.data)) {
		return errors.New("there are more descriptors than fit")
	}
	for i := range int64(e.count) {
		d := e.data[entryHeaderSize+i*descriptorSize:][:descriptorSize]
		le := binary.LittleEndian
		offset := le.Uint64(d[16:])
		if le.Uint64(d[24:]) != e.sequence || offset%logSector != 0 || offset > 1<<62 {
			return fmt.Errorf("descriptor %d is not possible", i)
		}
		switch string(d[:4]) {
		case descriptorZero:
			if err := o.zero(offset, le.Uint64(d[8:])); err != nil {
				return err
			}
		case descriptorData:
			if next+logSector > int64(len(e.data)) {
				return errors.New("data are missing")
			}
			page, err := page(d, e.data[next:next+logSector], e.sequence)
			if err != nil {
				return err
			}
			o.pages[int64(offset)] = page
			o.size = max(o.size, int64(offset)+logSector)
			next += logSector
		default:
			return fmt.Errorf("descriptor %d is of unknown kind", i)
		}
	}
	return nil
}

// page puts a sector together: its first and last bytes are kept in the
// descriptor, as the sequence number stands in their place.
func page(descriptor, sector []byte, sequence uint64) ([]byte, error) {
	le := binary.LittleEndian
	have := uint64(le.Uint32(sector[4:]))<<32 | uint64(le.Uint32(sector[logSector-4:]))
	if string(sector[:4]) != logDataSignature || have != sequence {
		return nil, errors.New("a sector of data is damaged")
	}
	p := slices.Clone(sector)
	copy(p, descriptor[8:16])
	copy(p[logSector-4:], descriptor[4:8])
	return p, nil
}

// zero drops what older descriptors say of a range.
func (o *overlay) zero(offset, length uint64) error {
	if length%logSector != 0 || length > 1<<62 || len(o.zeros) == maxZeroDescriptors {
		return errors.New("zeros are not possible or too many")
	}
	e := sparse.Extent{Offset: int64(offset), Length: int64(length)}
	for at := range o.pages {
		if at >= e.Offset && at < e.End() {
			delete(o.pages, at)
		}
	}
	o.zeros = append(o.zeros, e)
	return nil
}

// finish makes the parts fit for reading.
func (o *overlay) finish() {
	o.zeros = sparse.Merge(o.zeros)
	o.extents = slices.Clone(o.base.Extents())
	for at := range o.pages {
		o.extents = append(o.extents, sparse.Extent{Offset: at, Length: logSector})
	}
	o.extents = sparse.Merge(o.extents)
}

func (o *overlay) Size() int64              { return o.size }
func (o *overlay) Extents() []sparse.Extent { return o.extents }

// ReadAt reads the file and puts the changes over it.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("vhdx: negative offset")
	}
	var end error
	if rest := max(0, o.size-off); int64(len(p)) > rest || rest == 0 {
		p, end = p[:min(rest, int64(len(p)))], io.EOF
	}
	inside := p[:max(0, min(int64(len(p)), o.base.Size()-off))]
	if err := sparse.ReadFull(o.base, inside, off); err != nil {
		return 0, err
	}
	clear(p[len(inside):])
	for _, z := range o.zeros {
		if from, to := max(z.Offset, off), min(z.End(), off+int64(len(p))); from < to {
			clear(p[from-off : to-off])
		}
	}
	for at := off / logSector * logSector; at < off+int64(len(p)); at += logSector {
		page, changed := o.pages[at]
		switch {
		case !changed:
		case at < off:
			copy(p, page[off-at:])
		default:
			copy(p[at-off:], page)
		}
	}
	return len(p), end
}
