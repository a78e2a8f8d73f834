package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The log is a ring of records, each of which begins in a sector of 512 bytes
// with xlog_rec_header. The first word of every other sector is the number of
// the turn, so that a record is never mistaken.
const (
	logSector     = 512
	logMagic      = 0xfeedbabe
	logHeaderRoom = 32 << 10 // bytes of a record that one header sector serves
	logUnmount    = 0x20     // xlog_op_header.oh_flags: XLOG_UNMOUNT_TRANS
	maxLog        = 2 << 30  // bytes; XLOG_MAX of mkfs.xfs
)

// checkLog refuses a log that ends otherwise than by an unmount: what is in it
// has not reached its place, and reading past it could give wrong content.
func (f *FS) checkLog() error {
	s := &f.super
	if s.LogStart == 0 {
		return errors.New("its log is on another device, which cannot be looked at")
	}
	start, err := f.address(s.LogStart, uint64(s.LogBlocks))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	size := int64(s.LogBlocks) << s.BlockLog
	if size > maxLog {
		return fmt.Errorf("log of %d bytes: too large", size)
	}
	at, err := f.lastRecord(start, size)
	if err != nil || at < 0 {
		return err
	}
	clean, err := f.isUnmount(start, size, at)
	if err == nil && !clean {
		return errors.New("it was not unmounted and its log is not empty: mount and unmount it once, or run xfs_repair")
	}
	return err
}

// lastRecord finds the place of the youngest record in the log, or -1 if there is
// none. Only what holds data is read.
func (f *FS) lastRecord(start, size int64) (int64, error) {
	last, youngest := int64(-1), uint64(0)
	buffer := make([]byte, 256<<10)
	for _, e := range f.img.Extents() {
		from, to := max(e.Offset, start)&^(logSector-1), min(e.End(), start+size)
		for at := from; at < to; at += int64(len(buffer)) {
			b := buffer[:min(int64(len(buffer)), start+size-at)]
			if _, err := f.img.ReadAt(b, at); err != nil {
				return 0, fmt.Errorf("log: %w", err)
			}
			for i := 0; i+logSector <= len(b); i += logSector {
				place := at + int64(i) - start
				lsn := binary.BigEndian.Uint64(b[i+16:])
				header := binary.BigEndian.Uint32(b[i:]) == logMagic && int64(lsn&0xffffffff) == place/logSector
				if header && lsn > youngest {
					last, youngest = place, lsn
				}
			}
		}
	}
	return last, nil
}

// isUnmount tells whether the record at a place holds one operation, unmounting.
func (f *FS) isUnmount(start, size, at int64) (bool, error) {
	b := make([]byte, logSector)
	if _, err := f.img.ReadAt(b, start+at); err != nil {
		return false, fmt.Errorf("log: %w", err)
	}
	operations, room := binary.BigEndian.Uint32(b[40:]), int64(binary.BigEndian.Uint32(b[320:]))
	headers := int64(1)
	if version := binary.BigEndian.Uint32(b[8:]); version&2 != 0 && room > logHeaderRoom {
		headers = (room + logHeaderRoom - 1) / logHeaderRoom
	}
	next := (at + headers*logSector) % size
	if _, err := f.img.ReadAt(b, start+next); err != nil {
		return false, fmt.Errorf("log: %w", err)
	}
	return operations == 1 && b[9]&logUnmount != 0, nil
}
