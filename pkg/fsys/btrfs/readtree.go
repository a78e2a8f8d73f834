package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// key is btrfs_disk_key.
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

const (
	keySize    = 17
	headerSize = 101
	itemSize   = keySize + 8
	branchSize = keySize + 16

	kindInode   = 1
	kindXattr   = 24
	kindDirItem = 84
	kindDirName = 96
	kindExtent  = 108
	kindRoot    = 132
	kindChunk   = 228

	chunkObject = 256
	topVolume   = 5 // BTRFS_FS_TREE_OBJECTID
	firstFree   = 256
)

func parseKey(b []byte) key {
	return key{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
}

func (k key) less(o key) bool {
	if k.object != o.object {
		return k.object < o.object
	}
	if k.kind != o.kind {
		return k.kind < o.kind
	}
	return k.offset < o.offset
}

// btree is a tree of the volume by its root node.
type btree struct {
	address uint64
	level   uint8
}

// nodeCache holds the nodes read last.
type nodeCache struct {
	sync.Mutex
	nodes map[uint64][]byte
}

const cachedNodes = 128

// node reads a node of metadata and checks it (btrfs_header).
func (f *FS) node(t btree) ([]byte, error) {
	f.nodes.Lock()
	b, cached := f.nodes.nodes[t.address]
	f.nodes.Unlock()
	if !cached {
		b = make([]byte, f.super.NodeSize)
		if err := f.read(b, t.address); err != nil {
			return nil, err
		}
		if !f.goodSum(b) || [16]byte(b[32:48]) != f.fsid || binary.LittleEndian.Uint64(b[48:]) != t.address {
			return nil, fmt.Errorf("damaged: the node at %d has a wrong checksum or address", t.address)
		}
		f.keep(t.address, b)
	}
	size := itemSize
	if t.level > 0 {
		size = branchSize
	}
	if n := binary.LittleEndian.Uint32(b[96:]); b[100] != t.level || uint64(n)*uint64(size) > uint64(len(b)-headerSize) {
		return nil, fmt.Errorf("damaged: the node at %d has level %d and %d items", t.address, b[100], n)
	}
	return b, nil
}

func (f *FS) keep(address uint64, b []byte) {
	f.nodes.Lock()
	defer f.nodes.Unlock()
	if f.nodes.nodes == nil || len(f.nodes.nodes) >= cachedNodes {
		f.nodes.nodes = map[uint64][]byte{}
	}
	f.nodes.nodes[address] = b
}

// errStop ends a walk that has found what it looked for.
var errStop = errors.New("found")

// walk calls fn for the items with keys between from and to, both included, in
// order. The order is checked, and that every node begins with the key by which
// it is known: so no node is ever met twice.
func (f *FS) walk(t btree, from, to key, fn func(k key, data []byte) error) error {
	err := f.walkNode(t, nil, from, to, fn)
	if err == errStop {
		return nil
	}
	return err
}

func (f *FS) walkNode(t btree, known *key, from, to key, fn func(k key, data []byte) error) error {
	b, err := f.node(t)
	if err != nil {
		return err
	}
	n, size := int(binary.LittleEndian.Uint32(b[96:])), itemSize
	if t.level > 0 {
		size = branchSize
	}
	keyOf := func(k int) key { return parseKey(b[headerSize+k*size:]) }
	if known != nil && (n == 0 || keyOf(0) != *known) {
		return fmt.Errorf("damaged: the node at %d is out of order", t.address)
	}
	for k := range n {
		at := keyOf(k)
		if k > 0 && !keyOf(k-1).less(at) {
			return fmt.Errorf("damaged: the node at %d is out of order", t.address)
		}
		if to.less(at) {
			return nil
		}
		below := t.level > 0 && k+1 < n && !from.less(keyOf(k+1))
		if below || t.level == 0 && at.less(from) {
			continue
		}
		if t.level > 0 {
			child := btree{binary.LittleEndian.Uint64(b[headerSize+k*size+keySize:]), t.level - 1}
			err = f.walkNode(child, &at, from, to, fn)
		} else if data, ok := item(b, k); ok {
			err = fn(at, data)
		} else {
			err = fmt.Errorf("damaged: an item of the node at %d lies outside of it", t.address)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// item gives the data of an item of a leaf.
func item(b []byte, k int) ([]byte, bool) {
	e := b[headerSize+k*itemSize+keySize:]
	from, size := uint64(binary.LittleEndian.Uint32(e))+headerSize, uint64(binary.LittleEndian.Uint32(e[4:]))
	if from+size > uint64(len(b)) {
		return nil, false
	}
	return b[from : from+size : from+size], true
}

// root is a subvolume.
type root struct {
	id     uint64
	tree   btree
	object uint64 // of its top directory
}

const (
	maxRoots    = 1 << 16
	objectBits  = 40
	rootItem    = 239 // least size of btrfs_root_item
	defaultName = "default"
)

// readRoots lists the subvolumes and finds the default one.
func (f *FS) readRoots() error {
	top := btree{f.super.Root, f.super.RootLevel}
	le := binary.LittleEndian
	err := f.walk(top, key{topVolume, kindRoot, 0}, key{1<<63 - 1, 255, 1<<64 - 1}, func(k key, b []byte) error {
		if k.kind != kindRoot || k.object != topVolume && k.object < firstFree {
			return nil
		}
		if len(b) < rootItem || b[238] > maxLevel {
			return fmt.Errorf("damaged: subvolume %d", k.object)
		}
		if le.Uint32(b[216:]) == 0 {
			return nil // deleted, and not yet cleaned away
		}
		if len(f.roots) >= maxRoots {
			return fmt.Errorf("it has more than %d subvolumes", maxRoots)
		}
		f.roots = append(f.roots, root{k.object, btree{le.Uint64(b[176:]), b[238]}, le.Uint64(b[168:])})
		return nil
	})
	if err != nil {
		return err
	}
	wanted := uint64(topVolume)
	err = f.walk(top, key{f.super.RootDir, kindDirItem, 0}, key{f.super.RootDir, kindDirItem, 1<<64 - 1}, func(_ key, b []byte) error {
		return eachName(b, func(n nameItem) error {
			if string(n.name) == defaultName {
				wanted = n.location.object
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	at, found := f.findRoot(wanted)
	if !found {
		return fmt.Errorf("damaged: its default subvolume %d is not there", wanted)
	}
	f.start = at
	return nil
}

func (f *FS) findRoot(id uint64) (int, bool) {
	for k, r := range f.roots {
		if r.id == id {
			return k, true
		}
	}
	return 0, false
}

// nameItem is btrfs_dir_item: a name in a directory, or an attribute.
type nameItem struct {
	location    key
	kind        uint8
	name, value []byte
}

// eachName reads the names of an item, several of which may share a hash.
func eachName(b []byte, fn func(n nameItem) error) error {
	for len(b) > 0 {
		if len(b) < 30 {
			return errors.New("damaged: a name past its item")
		}
		value, name := int(binary.LittleEndian.Uint16(b[25:])), int(binary.LittleEndian.Uint16(b[27:]))
		if 30+name+value > len(b) {
			return errors.New("damaged: a name past its item")
		}
		n := nameItem{parseKey(b), b[29], b[30 : 30+name], b[30+name : 30+name+value]}
		if err := fn(n); err != nil {
			return err
		}
		b = b[30+name+value:]
	}
	return nil
}
