package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Tags of the entries of a POSIX access control list (posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclXattrVersion = 2 // as system calls pass it
	aclDiskVersion  = 1 // as ext4 stores it
)

// diskACL turns an access control list from the form of the attributes
// system.posix_acl_* into the one ext4 stores, which leaves out ids that mean
// nothing. A list without entries gives nil: it is no list at all.
func diskACL(value []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclXattrVersion {
		return nil, errors.New("not an access control list of version 2")
	}
	entries := value[4:]
	if len(entries)%8 != 0 {
		return nil, fmt.Errorf("an access control list has entries of 8 bytes, not %d in all", len(entries))
	}
	if len(entries) == 0 {
		return nil, nil
	}
	out := le.AppendUint32(make([]byte, 0, len(value)), aclDiskVersion)
	for ; len(entries) > 0; entries = entries[8:] {
		tag, perm := le.Uint16(entries), le.Uint16(entries[2:])
		if perm > 7 {
			return nil, fmt.Errorf("an access control list has the permission %#x", perm)
		}
		switch tag {
		case aclUserObj, aclGroupObj, aclMask, aclOther:
			out = append(out, entries[:4]...)
		case aclUser, aclGroup:
			out = append(out, entries[:8]...)
		default:
			return nil, fmt.Errorf("an access control list has an entry of kind %#x", tag)
		}
	}
	return out, nil
}
