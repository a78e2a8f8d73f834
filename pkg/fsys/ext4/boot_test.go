package ext4

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/judge/guest"
	"github.com/dibber-project/dibber/pkg/tree"
)

// shown is a volume that is shown to the kernel.
type shown struct {
	suiteCase
	action string // of hack/guest
	path   string // of the image
}

// TestKernelSeesWhatTheTreeSays boots a virtual machine with a kernel of
// Debian's, whose only program mounts volumes and lists what it finds there.
// It also uses some of them, and lets them grow while they are mounted.
func TestKernelSeesWhatTheTreeSays(t *testing.T) {
	if os.Getenv("DIBBER_BOOT") == "" { // before the volumes are made
		t.Skip("set DIBBER_BOOT=1 to boot a virtual machine")
	}
	var all []*shown
	for _, c := range suite() {
		all = append(all, &shown{suiteCase: c, action: "list"})
		if strings.HasPrefix(c.name, "everything") || strings.HasPrefix(c.name, "ext") {
			all = append(all, &shown{suiteCase: c, action: "change"})
		}
		if c.name == "everything" || c.name == "everything-1k" || c.name == "ext3" || c.name == "ext2" {
			all = append(all, &shown{suiteCase: c, action: "grow"})
		}
	}
	for _, s := range all {
		v, err := Plan(s.tree(), s.size, s.o)
		if err != nil {
			t.Fatal(err)
		}
		s.path = judge.Save(t, v)
		if s.action == "grow" {
			if err := os.Truncate(s.path, 12*s.size); err != nil {
				t.Fatal(err)
			}
		}
	}
	var volumes []guest.Volume
	for _, s := range all {
		volumes = append(volumes, guest.Volume{Path: s.path, Type: cmp.Or(s.o.Type, "ext4"), Action: s.action})
	}
	seen := guest.Show(t, []string{"ext4"}, volumes)
	for i, s := range all {
		t.Run(s.name+"-"+s.action, func(t *testing.T) {
			s.judge(t, seen[i])
		})
	}
}

// judge compares what the kernel saw of a volume with its tree, or checks what
// it left behind.
func (s *shown) judge(t *testing.T, seen []string) {
	for _, line := range seen {
		if strings.HasPrefix(line, "error ") {
			t.Fatal(line)
		}
	}
	switch s.action {
	case "list":
		guest.Compare(t, seen, guest.Lines(withRoot(s.tree(), s.o), rules(s.o)))
		return
	case "grow":
		if len(seen) != 1 || !strings.HasPrefix(seen[0], "grown from ") {
			t.Fatalf("the volume did not grow: %q", seen)
		}
		t.Log(seen[0])
		out := judge.Must(t, "dumpe2fs", "-h", s.path)
		if want := fmt.Sprintf("Block count:              %d\n", 12*s.size/rules(s.o).BlockSize); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
		if out := debugfs(t, s.path, "stat /grown"); !strings.Contains(out, "Size: 5242880") {
			t.Errorf("the file made after growing is not there:\n%s", out)
		}
	case "change":
		if out := debugfs(t, s.path, "ea_list /changed/file-1"); !strings.Contains(out, `user.note (7) = "changed"`) {
			t.Errorf("the file made is not there:\n%s", out)
		}
	}
	fsck(t, s.path)
}

// rules are what the options make of a tree.
func rules(o Options) guest.Rules {
	r := guest.Rules{BlockSize: int64(cmp.Or(o.BlockSize, 4096)), MaxLinks: maxLinks, MinTime: math.MinInt32, MaxTime: math.MaxInt32}
	if o.InodeSize != goodOldInode {
		r.MaxTime += 3 << 32
	}
	return r
}

func withRoot(tr *tree.Tree, o Options) *tree.Tree {
	return &tree.Tree{Root: withLostFound(tr.Root, o.Time)}
}

func TestComparisonWithTheKernelSeesDifferences(t *testing.T) {
	a := guest.Lines(everything(), rules(testOptions()))
	tr := everything()
	tr.Root.Child("etc").Inode.UID = 7
	b := guest.Lines(tr, rules(testOptions()))
	if slices.Equal(a, b) || len(a) != len(b) {
		t.Error("another owner makes no difference")
	}
}
