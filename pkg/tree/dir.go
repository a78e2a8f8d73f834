package tree

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelDirs are filled by the kernel of the running system and empty in every tree.
var kernelDirs = []string{"/dev", "/proc", "/sys"}

// DirOptions say what [OpenDir] reads. Paths in it are absolute inside the tree.
type DirOptions struct {
	Empty   []string // directories read without what they hold, besides /dev, /proc and /sys
	Exclude []string // paths left out altogether, with what lies below them

	// Note, when not nil, is told of what was left out for a reason of its own
	// (sockets), in path order.
	Note func(path, reason string)
}

// OpenDir reads the directory dir, the root of a mounted container, as a tree.
// It is called inside the user namespace of the container and gives owners as
// seen there.
//
// Names, attributes and data ranges are read now, file content when it is
// asked for: the directory must stay as it is and mounted until [Tree.Close].
// A file whose size has changed meanwhile is an error that names it. Symbolic
// links are read and never followed.
//
// Sockets are left out. Attributes that belong to the host or to overlayfs
// (security.selinux, security.ima, security.evm, trusted.overlay.*,
// user.overlay.*) are not copied. File capabilities bound to a user namespace
// other than the present one are an error that names the file.
func OpenDir(dir string, o DirOptions) (*Tree, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tree in %s: %w", dir, err)
	}
	t, err := readRooted(root, o)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tree in %s: %w", dir, err)
	}
	return t, nil
}

// readRooted reads the tree, which closes root when it is closed. So does an error.
func readRooted(root *rootDir, o DirOptions) (*Tree, error) {
	d := &dirReader{
		root:    root,
		files:   newOpenFiles(root),
		empty:   absolute(slices.Concat(kernelDirs, o.Empty)),
		exclude: absolute(o.Exclude),
	}
	t, err := d.read()
	if err != nil {
		d.files.Close()
		return nil, err
	}
	if o.Note != nil {
		slices.Sort(d.sockets)
		for _, p := range d.sockets {
			o.Note(p, "a socket, left out")
		}
	}
	return t, nil
}

func absolute(paths []string) map[string]bool {
	set := map[string]bool{}
	for _, p := range paths {
		set[path.Clean("/"+p)] = true
	}
	return set
}

// dirReader reads the directories of one tree with a few goroutines. A
// directory waits in todo until one of them takes it.
type dirReader struct {
	root    *rootDir
	files   *openFiles
	empty   map[string]bool
	exclude map[string]bool

	mu      sync.Mutex
	wake    *sync.Cond // todo has grown, or nothing is left
	todo    []pending
	busy    int // directories in todo or in a goroutine's hands
	err     error
	sockets []string
	linked  map[*Node]inodeID // nodes with a link count above 1
}

type pending struct {
	path string
	node *Node
}

// inodeID is what tells hard links.
type inodeID struct{ dev, ino uint64 }

func (d *dirReader) read() (*Tree, error) {
	d.wake = sync.NewCond(&d.mu)
	d.linked = map[*Node]inodeID{}
	root, err := d.readRoot()
	if err != nil {
		return nil, err
	}
	d.push([]pending{{"/", root}})
	var all sync.WaitGroup
	for range min(4, runtime.GOMAXPROCS(0)) {
		all.Go(d.work)
	}
	all.Wait()
	if d.err != nil {
		return nil, d.err
	}
	t := &Tree{Root: root, source: d.files}
	d.joinLinks(t)
	return t, nil
}

// readRoot reads the root directory's own attributes.
func (d *dirReader) readRoot() (*Node, error) {
	f, err := d.root.openDir("/")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "fstat", Path: "/", Err: err}
	}
	n := &Node{Inode: inodeOf(&st)}
	n.Inode.Xattrs, err = readXattrs("/", fdPath(f))
	return n, err
}

func (d *dirReader) push(dirs []pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.todo = append(d.todo, dirs...)
	d.busy += len(dirs)
	d.wake.Broadcast()
}

// pop waits for a directory to read; false when all are read or one failed.
func (d *dirReader) pop() (pending, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.todo) == 0 && d.busy > 0 && d.err == nil {
		d.wake.Wait()
	}
	if len(d.todo) == 0 || d.err != nil {
		return pending{}, false
	}
	// The last one first: that bounds todo by the depth and the widest directories.
	p := d.todo[len(d.todo)-1]
	d.todo = d.todo[:len(d.todo)-1]
	return p, true
}

func (d *dirReader) done(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy--
	if d.err == nil {
		d.err = err
	}
	d.wake.Broadcast()
}

func (d *dirReader) work() {
	for {
		p, ok := d.pop()
		if !ok {
			return
		}
		d.done(d.readDir(p.path, p.node))
	}
}

// readDir fills the node of a directory and hands on the directories in it.
func (d *dirReader) readDir(p string, n *Node) error {
	if d.empty[p] {
		return nil
	}
	f, err := d.root.openDir(p)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("reading directory %s: %w", p, err)
	}
	slices.Sort(names)
	below := openDir{fd: int(f.Fd()), path: strings.TrimSuffix(p, "/") + "/", byFD: fdPath(f)}
	n.Children = slices.Grow(n.Children, len(names))
	var dirs []pending
	for _, name := range names {
		at := below.path + name
		if d.exclude[at] {
			continue
		}
		c, err := d.readEntry(below, at, name)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		n.Children = append(n.Children, c)
		if c.Inode.IsDir() {
			dirs = append(dirs, pending{at, c})
		}
	}
	d.push(dirs)
	return nil
}

// openDir is a directory whose entries are read. Its paths end with a slash.
type openDir struct {
	fd   int
	path string // in the tree
	byFD string // as fdPath gives it
}

// readEntry reads the attributes of the entry called name in the directory
// dir; nil for what is left out.
func (d *dirReader) readEntry(dir openDir, at, name string) (*Node, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: at, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sockets = append(d.sockets, at)
		return nil, nil
	}
	n := &Node{Name: name, Inode: inodeOf(&st)}
	var err error
	if n.Inode.Xattrs, err = readXattrs(at, dir.byFD+name); err != nil {
		return nil, err
	}
	switch n.Inode.Type() {
	case TypeSymlink:
		n.Inode.Target, err = readLink(dir.fd, at, name, st.Size)
	case TypeRegular:
		err = d.setContent(n.Inode, at, &st)
	}
	if st.Nlink > 1 && !n.Inode.IsDir() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.linked[n] = inodeID{st.Dev, st.Ino}
	}
	return n, err
}

func (d *dirReader) setContent(i *Inode, at string, st *unix.Stat_t) error {
	if st.Size == 0 {
		return nil
	}
	i.Size = st.Size
	file := &dirFile{files: d.files, path: at, size: st.Size}
	i.Content = file
	if st.Blocks*512 >= st.Size {
		return nil
	}
	var err error
	i.Data, err = file.dataRanges()
	return err
}

// joinLinks gives the names of one inode one Inode, the first in path order.
func (d *dirReader) joinLinks(t *Tree) {
	first := map[inodeID]*Inode{}
	_ = t.Walk(func(_ string, n *Node) error {
		id, linked := d.linked[n]
		if !linked {
			return nil
		}
		if first[id] == nil {
			first[id] = n.Inode
		}
		n.Inode = first[id]
		return nil
	})
}

func inodeOf(st *unix.Stat_t) *Inode {
	i := &Inode{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: st.Mtim.Sec}
	if t := i.Type(); t == TypeChar || t == TypeBlock {
		i.Major, i.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return i
}

// readLink reads a symbolic link that has size bytes, if it has not changed.
func readLink(dir int, at, name string, size int64) (string, error) {
	b := make([]byte, min(max(size+1, 64), unix.PathMax))
	for {
		n, err := unix.Readlinkat(dir, name, b)
		if err != nil {
			return "", &os.PathError{Op: "readlink", Path: at, Err: err}
		}
		if n < len(b) || n == unix.PathMax {
			return string(b[:n]), nil
		}
		b = make([]byte, unix.PathMax)
	}
}

// fdPath names an open directory so that, with the name of an entry behind it, no
// directory on the way to the entry can be swapped for a symbolic link.
func fdPath(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/", dir.Fd()) }
