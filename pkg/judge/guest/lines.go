package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Compare reports the first lines that the kernel and a tree do not have in
// common.
func Compare(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	bad := 0
	for len(got)+len(want) > 0 && bad < 10 {
		switch {
		case len(want) == 0 || len(got) > 0 && got[0] < want[0]:
			t.Errorf("the kernel sees   %s", got[0])
			got, bad = got[1:], bad+1
		case len(got) == 0 || want[0] < got[0]:
			t.Errorf("it should see     %s", want[0])
			want, bad = want[1:], bad+1
		default:
			got, want = got[1:], want[1:]
		}
	}
}

// Rules are what a file system makes of a tree that it holds.
type Rules struct {
	BlockSize  int64 // bytes, the unit of holes; 0: it tells of none
	MaxLinks   int   // of an inode; 0: no limit
	MaxTime    int64 // seconds since the epoch; 0: no limit
	MinTime    int64
	OneDirLink bool // directories do not count those below them
}

// Lines says of a tree what the kernel says of a volume that holds it. It knows
// nothing of how a volume is laid out but the rules.
func Lines(tr *tree.Tree, rules Rules) []string {
	e := expecter{Rules: rules, names: map[*tree.Inode]int{}, named: map[*tree.Inode]int{}}
	e.count(tr.Root)
	e.add("/", tr.Root)
	return e.lines
}

type expecter struct {
	Rules
	names map[*tree.Inode]int // in all
	named map[*tree.Inode]int // so far
	lines []string
}

func (e *expecter) count(n *tree.Node) {
	e.names[n.Inode]++
	for _, c := range n.Children {
		e.count(c)
	}
}

func (e *expecter) add(path string, n *tree.Node) {
	e.lines = append(e.lines, fmt.Sprintf("%q %s", path, e.describe(n)))
	for _, c := range n.Children {
		e.add(strings.TrimSuffix(path, "/")+"/"+c.Name, c)
	}
}

func (e *expecter) describe(n *tree.Node) string {
	in := n.Inode
	mtime := in.Mtime
	if e.MaxTime != 0 {
		mtime = min(max(mtime, e.MinTime), e.MaxTime)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mode=%o owner=%d:%d links=%d mtime=%d", in.Mode, in.UID, in.GID, e.links(n), mtime)
	switch in.Type() {
	case tree.TypeChar, tree.TypeBlock:
		fmt.Fprintf(&b, " device=%d,%d", in.Major, in.Minor)
	case tree.TypeSymlink:
		fmt.Fprintf(&b, " target=%q", in.Target)
	case tree.TypeRegular:
		e.describeContent(&b, in)
	}
	for _, a := range slices.SortedFunc(slices.Values(in.Xattrs), func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) }) {
		text := hex.EncodeToString(a.Value)
		if len(a.Value) > 64 {
			sum := sha256.Sum256(a.Value)
			text = fmt.Sprintf("%d,%x", len(a.Value), sum[:12])
		}
		fmt.Fprintf(&b, " %q=%s", a.Name, text)
	}
	return b.String()
}

// links counts an inode's names; those beyond the limit share another inode.
func (e *expecter) links(n *tree.Node) int {
	limit := e.MaxLinks
	if limit == 0 {
		limit = math.MaxInt
	}
	if !n.Inode.IsDir() {
		before := e.named[n.Inode] / limit * limit
		e.named[n.Inode]++
		return min(limit, e.names[n.Inode]-before)
	}
	if e.OneDirLink {
		return 1
	}
	links := 2
	for _, c := range n.Children {
		if c.Inode.IsDir() {
			links++
		}
	}
	if links > limit {
		return 1
	}
	return links
}

func (e *expecter) describeContent(b *strings.Builder, in *tree.Inode) {
	bs, data := max(e.BlockSize, 1), in.Data
	if in.Size > 0 && (data == nil || e.BlockSize == 0) {
		data = []tree.Range{{Offset: 0, Length: in.Size}}
	}
	var blocks []tree.Range
	for _, r := range data {
		from, to := r.Offset/bs*bs, min((r.Offset+r.Length+bs-1)/bs*bs, in.Size)
		if n := len(blocks); n > 0 && blocks[n-1].Offset+blocks[n-1].Length >= from {
			blocks[n-1].Length = to - blocks[n-1].Offset
		} else if r.Length > 0 {
			blocks = append(blocks, tree.Range{Offset: from, Length: to - from})
		}
	}
	content, places := sha256.New(), sha256.New()
	for _, r := range blocks {
		buf := make([]byte, r.Length)
		if n, err := in.Content.ReadAt(buf, r.Offset); n < len(buf) {
			fmt.Fprintf(b, " error=%q", err)
		}
		content.Write(buf)
		fmt.Fprintf(places, "%d+%d ", r.Offset, r.Length)
	}
	fmt.Fprintf(b, " size=%d data=%d,%x content=%x", in.Size, len(blocks), places.Sum(nil)[:6], content.Sum(nil)[:12])
}
