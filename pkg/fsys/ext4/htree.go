package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// hashed is one name of an indexed directory.
type hashed struct {
	hash, minor uint32
	child       int // its place among the directory's children
}

// leaf is a block of an indexed directory that holds names.
type leaf struct {
	hash  uint32 // of its first name; the low bit set if the leaf before ends with the same
	first int    // place of that name in the order of hashes
}

// index is the layout of an indexed directory (the section on hash tree
// directories of directory.rst): block 0 is the root, then come the nodes
// between root and leaves, if any, then the leaves.
type index struct {
	names  []hashed
	leaves []leaf
	nodes  int // between root and leaves
	perDx  int // entries of such a node
}

func (ix *index) blocks() uint64 { return uint64(1 + ix.nodes + len(ix.leaves)) }

// dxLimit is how many entries fit into a block of the index after its header.
func (f *form) dxLimit(header int) int {
	room := int(f.blockSize) - header
	if f.metadataCsum() {
		room -= dxTailLen
	}
	return room / dxEntryLen
}

// newIndex orders the names of a directory by hash and cuts them into leaves.
func (f *form) newIndex(nodes []*tree.Node) (*index, error) {
	ix := &index{names: make([]hashed, len(nodes)), perDx: f.dxLimit(dxNodeHeader)}
	for i, n := range nodes {
		if n == nil {
			return nil, errors.New("a directory has a name without an inode")
		}
		ix.names[i].hash, ix.names[i].minor = halfMD4(n.Name, f.hashSeed)
		ix.names[i].child = i
	}
	slices.SortFunc(ix.names, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.child, b.child))
	})
	used := f.dirRoom() // so that the first name opens a leaf
	for i, h := range ix.names {
		need := recLen(nodes[h.child].Name)
		if used+need > f.dirRoom() {
			at := leaf{hash: h.hash, first: i}
			if i > 0 && ix.names[i-1].hash == h.hash {
				at.hash |= 1
			}
			ix.leaves = append(ix.leaves, at)
			used = 0
		}
		used += need
	}
	if len(ix.leaves) > f.dxLimit(dxRootHeader) {
		ix.nodes = (len(ix.leaves) + ix.perDx - 1) / ix.perDx
	}
	if ix.nodes > f.dxLimit(dxRootHeader) {
		return nil, errors.New("a directory has more names than its index holds")
	}
	return ix, nil
}

// encodeIndexed fills out with the blocks of an indexed directory.
func (v *Volume) encodeIndexed(out []byte, ino uint32) error {
	in := v.inodes.at(ino)
	ix, err := v.form.newIndex(in.node.Children)
	if err != nil {
		return err
	}
	bs := int(v.geo.blockSize)
	v.encodeDxRoot(out[:bs], ino, ix)
	for i := range ix.nodes {
		b := out[bs*(1+i):][:bs]
		putEntry(b, bs, "", 0, ftUnknown)
		part := ix.leaves[i*ix.perDx : min(len(ix.leaves), (i+1)*ix.perDx)]
		v.putDxEntries(b, dxNodeHeader, ino, part, 1+ix.nodes+i*ix.perDx)
	}
	w := v.newDirWriter(ino, out[bs*(1+ix.nodes):])
	for _, h := range ix.names {
		n := in.node.Children[h.child]
		w.add(n.Name, v.kids[ino][h.child], fileType(n.Inode))
	}
	w.close()
	return nil
}

// encodeDxRoot writes block 0: the two entries that every directory begins
// with, hidden behind which lies the root of the index.
func (v *Volume) encodeDxRoot(b []byte, ino uint32, ix *index) {
	dot := recLen(".")
	putEntry(b, dot, ".", ino, v.entryType(ftDir))
	putEntry(b[dot:], len(b)-dot, "..", v.inodes.at(ino).parent, v.entryType(ftDir))
	info := b[dxRootHeader-dxInfoLength:]
	info[4], info[5] = hashHalfMD4, dxInfoLength
	if ix.nodes == 0 {
		v.putDxEntries(b, dxRootHeader, ino, ix.leaves, 1)
		return
	}
	info[6] = 1 // levels below the root
	var firsts []leaf
	for i := 0; i < len(ix.leaves); i += ix.perDx {
		firsts = append(firsts, ix.leaves[i])
	}
	v.putDxEntries(b, dxRootHeader, ino, firsts, 1)
}

// putDxEntries writes index entries for blocks from first on, after a header,
// and the block's checksum. The first entry's hash is implied: its place holds
// limit and count.
func (v *Volume) putDxEntries(b []byte, header int, ino uint32, below []leaf, first int) {
	le := binary.LittleEndian
	limit := v.form.dxLimit(header)
	for i, l := range below {
		e := b[header+dxEntryLen*i:]
		le.PutUint32(e, l.hash)
		le.PutUint32(e[4:], uint32(first+i))
	}
	le.PutUint16(b[header:], uint16(limit))
	le.PutUint16(b[header+2:], uint16(len(below)))
	if v.geo.metadataCsum() {
		tail := b[header+dxEntryLen*limit:]
		sum := v.sums.add(v.sums.inode(ino), b[:header+dxEntryLen*len(below)])
		// The tail counts with its checksum as zero.
		le.PutUint32(tail[4:], v.sums.add(sum, make([]byte, dxTailLen)))
	}
}

// halfMD4 is the hash that orders an index: a shortened MD4 over pieces of 32
// bytes, whose characters count as signed (s_flags says so).
func halfMD4(name string, seed [16]byte) (hash, minor uint32) {
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range state {
			state[i] = binary.LittleEndian.Uint32(seed[4*i:])
		}
	}
	for {
		halfMD4Block(&state, hashWords(name))
		if len(name) <= 32 {
			break
		}
		name = name[32:]
	}
	return state[1] &^ 1, state[2]
}

// hashWords packs up to 32 characters, padded by the length of what is left.
func hashWords(name string) [8]uint32 {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	var words [8]uint32
	for i := range words {
		words[i] = pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			words[i] = uint32(int32(int8(name[j]))) + words[i]<<8
		}
	}
	return words
}

// halfMD4Block mixes eight words into the state: three rounds, each with its
// own function, constant, order of words and rotations.
func halfMD4Block(state *[4]uint32, in [8]uint32) {
	rounds := [3]struct {
		f     func(x, y, z uint32) uint32
		add   uint32
		order [8]int
		shift [4]int
	}{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	s := *state
	for _, r := range rounds {
		for i, word := range r.order {
			// The state turns by one place a step: a, d, c, b.
			a := &s[(4-i%4)%4]
			b, c, d := s[(5-i%4)%4], s[(6-i%4)%4], s[(7-i%4)%4]
			x := *a + r.f(b, c, d) + in[word] + r.add
			*a = x<<r.shift[i%4] | x>>(32-r.shift[i%4])
		}
	}
	for i := range state {
		state[i] += s[i]
	}
}
