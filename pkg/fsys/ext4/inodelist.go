package ext4

// inodeList holds inodes by number. It grows without moving them, which spares
// the memory for copies of a million of them.
type inodeList struct {
	pages [][]inode
	count uint32
}

// inodesPerPage is how many inodes lie one behind the other in memory.
const inodesPerPage = 1024

func newInodeList(count uint32) *inodeList {
	l := &inodeList{}
	for range count {
		l.add(inode{})
	}
	return l
}

// at gives the inode of a number from 1 to count.
func (l *inodeList) at(ino uint32) *inode {
	return &l.pages[(ino-1)/inodesPerPage][(ino-1)%inodesPerPage]
}

// add appends an inode, whose number is then count.
func (l *inodeList) add(in inode) {
	if l.count%inodesPerPage == 0 {
		l.pages = append(l.pages, make([]inode, 0, min(inodesPerPage, max(l.count, 32))))
	}
	page := &l.pages[len(l.pages)-1]
	*page = append(*page, in)
	l.count++
}
