package fat_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestNeedIsEnoughAndLittleMore(t *testing.T) {
	for name, tr := range map[string]*tree.Tree{
		"nothing": treetest.New(t, nil),
		"many":    many(t),
		"root full": func() *tree.Tree {
			lines := map[string]string{}
			for i := range 2000 {
				lines[fmt.Sprintf("/a long name of a file %d", i)] = "file 0644 0:0 x"
			}
			return treetest.New(t, lines)
		}(),
		"505 MiB": hollow(t, 505*mib),
		"3 GiB":   hollow(t, 3*gib),
		"40 MiB":  treetest.New(t, map[string]string{"/kernel": "file 0644 0:0 " + strings.Repeat("k", 40*mib)}),
	} {
		kinds := []fat.Options{{}, {Bits: 32}, {SectorSize: 4096}, {Bits: 16}, {Bits: 12}, {ClusterSectors: 16}}
		for _, o := range judge.Few(kinds, 2) {
			size, err := fat.Need(tr, o)
			if o.Bits == 12 && strings.HasSuffix(name, "iB") && name != "40 MiB" {
				if err == nil || !strings.Contains(err.Error(), "too large for tables of 12 bits") {
					t.Errorf("%s in FAT12: %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %+v: %v", name, o, err)
				continue
			}
			v, err := fat.Plan(tr, size, o)
			if err != nil {
				t.Errorf("%s %+v: Need says %d, Plan %v", name, o, size, err)
				continue
			}
			fsck(t, judge.Save(t, v))
			if _, err := fat.Plan(tr, size/10*9-64*kib, o); err == nil && size > mib {
				t.Errorf("%s %+v: Need says %d, and a tenth less is enough", name, o, size)
			}
		}
	}
}

// sample is how many of all cases a run looks at: all with DIBBER_BIG=1.
func sample(usual, all int) int {
	if os.Getenv("DIBBER_BIG") == "1" {
		return all
	}
	return usual
}

// randomTree has many files of all sizes, or few, or none.
func randomTree(random *rand.Rand) *tree.Tree {
	root := &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
	dirs := []*tree.Node{root}
	most := int64(1) << random.IntN(30)
	for i := range random.IntN(1 << random.IntN(11)) {
		n := &tree.Node{Name: fmt.Sprintf("%0*d", 1+random.IntN(60), i)}
		n.Inode = &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: random.Int64N(most), Content: zeros{}, Data: []tree.Range{}}
		parent := dirs[random.IntN(len(dirs))]
		if random.IntN(8) == 0 {
			n.Inode = &tree.Inode{Mode: tree.TypeDir | 0o755}
			dirs = append(dirs, n)
		}
		parent.Children = append(parent.Children, n)
	}
	for _, d := range dirs {
		slices.SortFunc(d.Children, func(a, b *tree.Node) int { return strings.Compare(a.Name, b.Name) })
	}
	return &tree.Tree{Root: root}
}

func TestNeedIsWhatPlanTakes(t *testing.T) {
	if judge.Race {
		t.Skip("sizes are tried in one goroutine")
	}
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...int64) int64 { return of[random.IntN(len(of))] }
	for i := range sample(20, 80) {
		tr := randomTree(random)
		o := fat.Options{
			Bits: int(pick(0, 0, 0, 12, 16, 32, 32)), SectorSize: pick(0, 0, 512, 1024, 4096), ClusterSectors: pick(0, 0, 1, 2, 8, 64),
			Tables: pick(0, 0, 1), Unaligned: pick(0, 1) == 1, ReservedSectors: pick(0, 0, 100), RootEntries: pick(0, 0, 16),
		}
		size, err := fat.Need(tr, o)
		if err != nil {
			// Then no size will do.
			for size := int64(128 * kib); size < 1<<41; size += size / 32 {
				if v, err := fat.Plan(tr, size, o); err == nil {
					t.Errorf("%d %+v: Plan takes %d bytes (FAT%d with clusters of %d)", i, o, size, v.Bits, v.ClusterSize)
					break
				}
			}
			continue
		}
		if _, err := fat.Plan(tr, size, o); err != nil {
			t.Errorf("%d %+v: Need says %d, Plan %v", i, o, size, err)
		}
		for _, less := range []int64{size / 2, size / 10 * 9, size / 100 * 99, size - 128*kib} {
			if v, err := fat.Plan(tr, less, o); err == nil && size > mib && less > 128*kib {
				t.Errorf("%d %+v: Need says %d, and %d is enough (FAT%d with clusters of %d)", i, o, size, less, v.Bits, v.ClusterSize)
			}
		}
	}
}

func TestNeedPassesSizesThatMkfsCannotUse(t *testing.T) {
	// With clusters of one sector FAT16 ends at 32 MiB, and FAT32 begins at 512.
	for _, c := range []struct {
		tr   *tree.Tree
		o    fat.Options
		want int64
	}{
		{hollow(t, 40*mib), fat.Options{ClusterSectors: 1}, 512 * mib},
		{hollow(t, 4085*512-32*kib), fat.Options{ClusterSectors: 1}, 0},
		{hollow(t, 2*mib), fat.Options{ClusterSectors: 1}, 0},
		{hollow(t, 508*mib), fat.Options{}, 0},
		{hollow(t, 200*mib), fat.Options{Bits: 32, SectorSize: 4096}, 0},
	} {
		size, err := fat.Need(c.tr, c.o)
		if err != nil || c.want != 0 && size != c.want {
			t.Errorf("%+v: %d, %v", c.o, size, err)
			continue
		}
		fsck(t, judge.Save(t, plan(t, c.tr, size, c.o)))
	}
}

func TestSystemPartitionsOfAllUsualSizesCanBeMade(t *testing.T) {
	tr := many(t)
	for _, size := range []int64{260 * mib, 512 * mib, 550 * mib, gib} {
		for _, sector := range []int64{512, 4096} {
			o := fat.Options{Bits: 32, SectorSize: sector, Label: "ESP"}
			v := plan(t, tr, size, o)
			fsck(t, judge.Save(t, v))
			treetest.CompareLines(t, treetest.Format(t, load(t, open(t, v))), asFAT(t, tr))
			if need, err := fat.Need(tr, o); err != nil || need > size {
				t.Errorf("sectors of %d: Need says %d, %v", sector, need, err)
			}
		}
	}
}

// hollow is a tree with a file of holes.
func hollow(t *testing.T, size int64) *tree.Tree {
	tr := treetest.New(t, map[string]string{"/hollow": "file 0644 0:0"})
	i := tr.Lookup("/hollow").Inode
	i.Size, i.Content, i.Data = size, zeros{}, []tree.Range{}
	return tr
}
