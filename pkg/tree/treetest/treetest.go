// Package treetest writes trees as maps of one-line strings, for readable
// tests. It is no archive format and is not used outside tests.
//
// A line is the kind of the entry, its permission bits in octal, its owner and
// what belongs to the kind:
//
//	"/bin":     "dir 0755 0:0",
//	"/bin/sh":  "symlink 0777 0:0 dash",
//	"/bin/dash": "file 0755 0:0 content to the end of the string",
//	"/bin/ash": "link /bin/dash",
//	"/dev/null": "char 0666 0:0 1,3",
//	"/dev/sda": "block 0660 0:6 8,0",
//	"/run/fifo": "fifo 0600 0:0",
//
// Between owner and content may stand the time of modification as @SECONDS
// (0 when missing), extended attributes as +NAME=VALUE, where a value with
// blanks or other than printable ASCII is quoted as in Go, and a lone "-" that
// ends these for a content that begins like one of them.
package treetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
)

// maxContent is how many bytes of a file Format writes out; of a larger one it
// gives the size and the digest.
const maxContent = 4096

type kind struct {
	name string
	bits uint32
}

var kinds = []kind{
	{"dir", tree.TypeDir}, {"file", tree.TypeRegular}, {"symlink", tree.TypeSymlink},
	{"char", tree.TypeChar}, {"block", tree.TypeBlock}, {"fifo", tree.TypeFIFO},
}

// New makes the tree that the lines describe. Directories that are missing on
// the way, the root included, are "dir 0755 0:0".
func New(t testing.TB, lines map[string]string) *tree.Tree {
	t.Helper()
	tr := &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}}
	var links []string
	for _, p := range slices.Sorted(maps.Keys(lines)) {
		n := place(tr, p)
		if strings.HasPrefix(lines[p], "link ") {
			links = append(links, p)
			continue
		}
		inode, err := parse(lines[p])
		if err != nil {
			t.Fatalf("treetest: %s: %q: %v", p, lines[p], err)
		}
		n.Inode = inode
	}
	for _, p := range links {
		to := tr.Lookup(strings.TrimPrefix(lines[p], "link "))
		if to == nil || to.Inode == nil {
			t.Fatalf("treetest: %s: %q: no such name", p, lines[p])
		}
		tr.Lookup(p).Inode = to.Inode
	}
	return tr
}

// place finds or makes the node at p and the directories above it.
func place(tr *tree.Tree, p string) *tree.Node {
	if p = path.Clean("/" + p); p == "/" {
		return tr.Root
	}
	dir, name := place(tr, path.Dir(p)), path.Base(p)
	if n := dir.Child(name); n != nil {
		return n
	}
	n := &tree.Node{Name: name, Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
	dir.Children = append(dir.Children, n)
	slices.SortFunc(dir.Children, func(a, b *tree.Node) int { return strings.Compare(a.Name, b.Name) })
	return n
}

func parse(line string) (*tree.Inode, error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 3 {
		return nil, fmt.Errorf("want at least a kind, a mode and an owner")
	}
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name == fields[0] })
	if at < 0 {
		return nil, fmt.Errorf("unknown kind %q", fields[0])
	}
	mode, err := strconv.ParseUint(fields[1], 8, 12)
	if err != nil {
		return nil, err
	}
	i := &tree.Inode{Mode: kinds[at].bits | uint32(mode)}
	if _, err := fmt.Sscanf(fields[2], "%d:%d", &i.UID, &i.GID); err != nil {
		return nil, fmt.Errorf("owner %q: %w", fields[2], err)
	}
	rest := ""
	if len(fields) == 4 {
		rest = fields[3]
	}
	if rest, err = parseAttributes(i, rest); err != nil {
		return nil, err
	}
	return i, parseContent(i, rest)
}

func parseAttributes(i *tree.Inode, rest string) (string, error) {
	for rest != "" {
		if after, ends := strings.CutPrefix(rest, "- "); ends {
			return after, nil
		}
		switch rest[0] {
		case '@':
			word, after, _ := strings.Cut(rest[1:], " ")
			seconds, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				return "", err
			}
			i.Mtime, rest = seconds, after
		case '+':
			name, value, found := strings.Cut(rest[1:], "=")
			if !found {
				return "", fmt.Errorf("an attribute without a value")
			}
			var after string
			if quoted, err := strconv.QuotedPrefix(value); err == nil {
				after = strings.TrimPrefix(value[len(quoted):], " ")
				value, _ = strconv.Unquote(quoted)
			} else {
				value, after, _ = strings.Cut(value, " ")
			}
			i.Xattrs = append(i.Xattrs, tree.Xattr{Name: name, Value: []byte(value)})
			rest = after
		default:
			return rest, nil
		}
	}
	slices.SortFunc(i.Xattrs, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return rest, nil
}

func parseContent(i *tree.Inode, rest string) error {
	switch i.Type() {
	case tree.TypeRegular:
		SetContent(i, rest)
	case tree.TypeSymlink:
		i.Target = rest
	case tree.TypeChar, tree.TypeBlock:
		_, err := fmt.Sscanf(rest, "%d,%d", &i.Major, &i.Minor)
		return err
	}
	return nil
}

// SetContent makes s the content of a regular file.
func SetContent(i *tree.Inode, s string) {
	i.Size, i.Content = int64(len(s)), nil
	if s != "" {
		i.Content = strings.NewReader(s)
	}
}

// Format describes a tree; what New makes of the lines is the same tree, but
// for files of more than 4096 bytes, of which size and digest are given. The
// second and later names of an inode in path order are links to the first.
func Format(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	lines := map[string]string{}
	first := map[*tree.Inode]string{}
	err := tr.Walk(func(p string, n *tree.Node) error {
		if at, seen := first[n.Inode]; seen {
			lines[p] = "link " + at
			return nil
		}
		first[n.Inode] = p
		line, err := format(n.Inode)
		lines[p] = line
		return err
	})
	if err != nil {
		t.Fatalf("treetest: %v", err)
	}
	return lines
}

func format(i *tree.Inode) (string, error) {
	var b strings.Builder
	for _, k := range kinds {
		if k.bits == i.Type() {
			fmt.Fprintf(&b, "%s %04o %d:%d", k.name, i.Mode&^tree.TypeMask, i.UID, i.GID)
		}
	}
	if i.Mtime != 0 {
		fmt.Fprintf(&b, " @%d", i.Mtime)
	}
	for _, x := range i.Xattrs {
		value := string(x.Value)
		if quoted := strconv.QuoteToASCII(value); quoted != `"`+value+`"` || value == "" || strings.Contains(value, " ") {
			value = quoted
		}
		fmt.Fprintf(&b, " +%s=%s", x.Name, value)
	}
	content, err := formatContent(i)
	if content != "" {
		if strings.HasPrefix(content, "- ") || content[0] == '@' || content[0] == '+' {
			b.WriteString(" -")
		}
		b.WriteString(" " + content)
	}
	return b.String(), err
}

func formatContent(i *tree.Inode) (string, error) {
	switch i.Type() {
	case tree.TypeSymlink:
		return i.Target, nil
	case tree.TypeChar, tree.TypeBlock:
		return fmt.Sprintf("%d,%d", i.Major, i.Minor), nil
	case tree.TypeRegular:
	default:
		return "", nil
	}
	if i.Size <= maxContent {
		b, err := io.ReadAll(i.Reader())
		return string(b), err
	}
	sum := sha256.New()
	_, err := io.Copy(sum, i.Reader())
	return fmt.Sprintf("[%d bytes, sha256 %x]", i.Size, sum.Sum(nil)), err
}

// Compare fails the test when the tree is not what the lines describe, and
// says where.
func Compare(t testing.TB, got *tree.Tree, want map[string]string) {
	t.Helper()
	CompareLines(t, Format(t, got), Format(t, New(t, want)))
}

// CompareLines fails the test when the descriptions of two trees differ, and
// says where.
func CompareLines(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if line, found := got[p]; !found {
			t.Errorf("%s is missing; want %q", p, want[p])
		} else if line != want[p] {
			t.Errorf("%s is\n %q, want\n %q", p, line, want[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, found := want[p]; !found {
			t.Errorf("%s is in the tree as %q and should not be", p, got[p])
		}
	}
}
