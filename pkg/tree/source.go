package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Source is a tree that is read as it is asked for: a file system in an image.
//
// Its inodes have numbers. A number that is no inode is an error. The same
// number gives the same inode every time, so two names with one number are hard
// links. A Source may be asked from several goroutines at once.
type Source interface {
	// Root is the number of the root directory.
	Root() uint64
	// Inode reads what a number stands for. Content is read later.
	Inode(number uint64) (*Inode, error)
	// Entries lists a directory without "." and "..", in any order.
	Entries(directory uint64) ([]Entry, error)
}

// CaseFolder is a Source that has directories in which upper and lower case are
// the same. Find and Resolve then take a name in any case, the exact one first,
// and give places as they are spelled in the Source.
type CaseFolder interface {
	Source
	FoldsCase(directory uint64) bool
}

// Entry is a name in a directory of a Source.
type Entry struct {
	Name   string
	Number uint64
}

// Place is something found in a Source.
type Place struct {
	Path   string // without symbolic links
	Number uint64
	Inode  *Inode
}

// Find finds a path in s without following a symbolic link that is its last
// part; those on the way are followed and never leave s. The error is
// [fs.ErrNotExist] in an [*fs.PathError] when a name is missing.
func Find(s Source, name string) (Place, error) {
	dir, base := path.Split(path.Clean("/" + name))
	if base == "" {
		return Resolve(s, "/")
	}
	above, err := Resolve(s, dir)
	if err != nil {
		return Place{}, err
	}
	found, err := lookIn(s)(above, base)
	if err != nil {
		return Place{}, &fs.PathError{Op: "find", Path: name, Err: err}
	}
	return found, nil
}

// Resolve finds a path in s as a process whose root is s would: it follows
// symbolic links, the last one included.
func Resolve(s Source, name string) (Place, error) {
	inode, err := s.Inode(s.Root())
	if err != nil {
		return Place{}, err
	}
	look := lookIn(s)
	return resolve(Place{"/", s.Root(), inode}, name,
		func(p Place) *Inode { return p.Inode },
		func(dir Place, part string) (Place, error) { return look(dir, part) })
}

// lookIn gives a function that finds one name in a directory of s.
func lookIn(s Source) func(dir Place, name string) (Place, error) {
	return func(dir Place, name string) (Place, error) {
		if !dir.Inode.IsDir() {
			return Place{}, errNotDirectory
		}
		entries, err := s.Entries(dir.Number)
		if err != nil {
			return Place{}, fmt.Errorf("reading %s: %w", dir.Path, err)
		}
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
		if f, ok := s.(CaseFolder); ok && i < 0 && f.FoldsCase(dir.Number) {
			i = slices.IndexFunc(entries, func(e Entry) bool { return strings.EqualFold(e.Name, name) })
		}
		if i < 0 {
			return Place{}, fs.ErrNotExist
		}
		at := path.Join(dir.Path, entries[i].Name)
		inode, err := s.Inode(entries[i].Number)
		if err != nil {
			return Place{}, fmt.Errorf("reading %s: %w", at, err)
		}
		return Place{at, entries[i].Number, inode}, nil
	}
}

// Load reads the directory of s with the given number, and all that it holds,
// as a tree. File content stays where it is.
//
// s is not believed: names that no directory can hold, a name that is there
// twice, a directory with two names, or more than limit names in all are errors
// that say where. A limit of 0 stands for 16 million, which takes about 4 GB.
func Load(s Source, directory uint64, limit int) (*Tree, error) {
	if limit == 0 {
		limit = 16 << 20
	}
	l := &loader{source: s, left: limit, limit: limit, inodes: map[uint64]*Inode{}}
	root, err := l.node("/", Entry{Number: directory}, 0)
	if err != nil {
		return nil, err
	}
	if !root.Inode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: "/", Err: errNotDirectory}
	}
	return &Tree{Root: root}, nil
}

type loader struct {
	source      Source
	left, limit int
	inodes      map[uint64]*Inode
}

// maxDepth is how deep directories of a Source may be. Linux has no such limit,
// but its longest path has 4096 bytes.
const maxDepth = 2048

func (l *loader) node(at string, e Entry, depth int) (*Node, error) {
	if l.left--; l.left < 0 {
		return nil, fmt.Errorf("reading %s: more than %d names", at, l.limit)
	}
	inode, known := l.inodes[e.Number]
	if !known {
		var err error
		if inode, err = l.source.Inode(e.Number); err != nil {
			return nil, fmt.Errorf("reading %s: %w", at, err)
		}
		l.inodes[e.Number] = inode
	}
	n := &Node{Name: e.Name, Inode: inode}
	switch {
	case !inode.IsDir():
		return n, nil
	case known:
		return nil, fmt.Errorf("reading %s: the directory has another name, too", at)
	case depth > maxDepth:
		return nil, fmt.Errorf("reading %s: directories are more than %d deep", at, maxDepth)
	}
	entries, err := l.source.Entries(e.Number)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", at, err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	n.Children = make([]*Node, 0, min(len(entries), l.left))
	for i, e := range entries {
		if err := checkName(e.Name); err != nil {
			return nil, fmt.Errorf("reading %s: %w", at, err)
		}
		if i > 0 && entries[i-1].Name == e.Name {
			return nil, fmt.Errorf("reading %s: the name %q is there twice", at, e.Name)
		}
		child, err := l.node(path.Join(at, e.Name), e, depth+1)
		if err != nil {
			return nil, err
		}
		n.Children = append(n.Children, child)
	}
	return n, nil
}

// checkName refuses what Linux takes for no name.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is no name", name)
	}
	return nil
}

// Source gives the tree as a Source. The tree must not change meanwhile.
func (t *Tree) Source() Source {
	s := &treeSource{numbers: map[*Inode]uint64{}}
	_ = t.Walk(func(_ string, n *Node) error {
		if _, known := s.numbers[n.Inode]; !known {
			s.numbers[n.Inode] = uint64(len(s.nodes))
			s.nodes = append(s.nodes, n)
		}
		return nil
	})
	return s
}

type treeSource struct {
	nodes   []*Node // one of those of each inode, by its number
	numbers map[*Inode]uint64
}

func (s *treeSource) Root() uint64 { return 0 }

func (s *treeSource) Inode(number uint64) (*Inode, error) {
	if number >= uint64(len(s.nodes)) {
		return nil, errors.New("no such inode")
	}
	return s.nodes[number].Inode, nil
}

func (s *treeSource) Entries(directory uint64) ([]Entry, error) {
	inode, err := s.Inode(directory)
	if err != nil {
		return nil, err
	}
	if !inode.IsDir() {
		return nil, errNotDirectory
	}
	var entries []Entry
	for _, c := range s.nodes[directory].Children {
		entries = append(entries, Entry{c.Name, s.numbers[c.Inode]})
	}
	return entries, nil
}
