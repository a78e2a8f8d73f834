package disk_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/disk"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

const mib = 1 << 20

// plan is a disk of 16 MiB: an empty partition for boot code and a root.
func plan() *layout.Disk {
	return &layout.Disk{
		Image: &layout.Image{Name: "image0", SectorSize: 512, Table: &layout.Table{Label: layout.GPT}},
		Size:  16 * mib,
		Parts: []layout.Part{
			{Partition: &layout.Partition{Name: "BSP", Type: "EF02"}, Number: 1, Offset: mib, Length: mib},
			{Partition: &layout.Partition{Name: "root"}, Number: 2, Offset: 2 * mib, Length: 12 * mib,
				FileSystem: &layout.FileSystem{Type: "ext4"}},
		},
	}
}

func fill(n int, b byte) sparse.Image { return sparse.Bytes(bytes.Repeat([]byte{b}, n)) }

func at(off int64, img sparse.Image) sparse.Part { return sparse.Part{Offset: off, Image: img} }

func TestADiskHoldsTableVolumesAndBootCode(t *testing.T) {
	d, err := disk.New(plan(),
		[]sparse.Part{at(440, fill(72, 't')), at(512, fill(33*512, 't')), at(16*mib-33*512, fill(33*512, 't'))},
		map[int]sparse.Image{1: fill(3*mib, 'v')},
		[]sparse.Part{at(0, fill(440, 'b')), at(mib, fill(1000, 'c'))})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 16*mib)
	put := func(off, n int, b byte) { copy(want[off:], bytes.Repeat([]byte{b}, n)) }
	put(0, 440, 'b')
	put(440, 72+33*512, 't')
	put(mib, 1000, 'c')
	put(2*mib, 3*mib, 'v')
	put(16*mib-33*512, 33*512, 't')
	sparsetest.Test(t, d, want)
}

func TestAFileSystemOnTheWholeDiskNeedsNoTable(t *testing.T) {
	d, err := disk.New(&layout.Disk{
		Image: &layout.Image{Name: "image0", SectorSize: 512},
		Size:  1000,
		Parts: []layout.Part{{Length: 1000, FileSystem: &layout.FileSystem{Type: "ext4"}}},
	}, nil, map[int]sparse.Image{0: fill(1000, 'v')}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sparsetest.Test(t, d, bytes.Repeat([]byte{'v'}, 1000))
}

func TestAPhysicalVolumeNeedsItsVolume(t *testing.T) {
	whole := &layout.Disk{
		Image: &layout.Image{Name: "image0", SectorSize: 512},
		Size:  1000,
		Parts: []layout.Part{{Length: 1000, PhysicalVolume: &layout.PhysicalVolume{Name: "pv"}}},
	}
	d, err := disk.New(whole, nil, map[int]sparse.Image{0: fill(1000, 'v')}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sparsetest.Test(t, d, bytes.Repeat([]byte{'v'}, 1000))
	part := plan()
	part.Parts[0].PhysicalVolume = &layout.PhysicalVolume{Name: "pv"}
	for want, d := range map[string]*layout.Disk{
		"the physical volume on the whole disk has no volume for its physical volume pv": whole,
		`partition 1 "BSP" has no volume for its physical volume pv`:                     part,
	} {
		if _, err := disk.New(d, nil, map[int]sparse.Image{1: fill(mib, 'v')}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWhatDoesNotFitIsRefusedByName(t *testing.T) {
	root := func() map[int]sparse.Image { return map[int]sparse.Image{1: fill(mib, 'v')} }
	for name, c := range map[string]struct {
		change  func(d *layout.Disk)
		table   []sparse.Part
		volumes map[int]sparse.Image
		code    []sparse.Part
		want    []string
	}{
		"a volume too large":        {volumes: map[int]sparse.Image{1: sparse.Zero(12*mib + 1)}, want: []string{`partition 2 "root" has 12582913 bytes and its place 12582912`}},
		"no volume":                 {volumes: map[int]sparse.Image{}, want: []string{`"image0"`, `partition 2 "root" has no volume for its ext4`}},
		"a volume too many":         {volumes: map[int]sparse.Image{1: fill(1, 'v'), 2: fill(1, 'v')}, want: []string{"part 2 of 2"}},
		"a table in a volume":       {table: []sparse.Part{at(2*mib-1, fill(2, 't'))}, want: []string{`the partition table, bytes 2097151 to 2097153, overlaps partition 2 "root"`}},
		"a table in an empty part":  {table: []sparse.Part{at(mib-512, fill(1024, 't'))}, want: []string{`overlaps partition 1 "BSP"`}},
		"a table behind the volume": {table: []sparse.Part{at(5*mib, fill(512, 't'))}, want: []string{`overlaps the partition table`}},
		"code in a volume":          {code: []sparse.Part{at(mib, fill(mib+1, 'c'))}, want: []string{`the boot code, bytes 1048576 to 2097153, overlaps partition 2 "root"`}},
		"code in the table":         {table: []sparse.Part{at(440, fill(72, 't'))}, code: []sparse.Part{at(0, fill(441, 'c'))}, want: []string{"the boot code, bytes 0 to 441, overlaps the partition table"}},
		"a table past the end":      {table: []sparse.Part{at(16*mib-1, fill(2, 't'))}, want: []string{"16777215 to 16777217", "16777216"}},
		"code before the disk":      {code: []sparse.Part{at(-1, fill(2, 'c'))}, want: []string{"the boot code, bytes -1 to 1"}},
		"parts that overlap":        {change: func(d *layout.Disk) { d.Parts[0].Length += 512 }, want: []string{`partition 2 "root" begins at byte 2097152, before the end of partition 1 "BSP" at 2097664`}},
		"a part past the end":       {change: func(d *layout.Disk) { d.Parts[1].Length = 15 * mib }, want: []string{`partition 2 "root", 15728640 bytes at byte 2097152`}},
		"a part without end":        {change: func(d *layout.Disk) { d.Parts[1].Length = 1<<63 - 1 }, want: []string{`is not inside`}},
		"parts off the sectors":     {change: func(d *layout.Disk) { d.Parts[1].Offset++ }, want: []string{`does not keep to sectors of 512`}},
		"large sectors":             {change: func(d *layout.Disk) { d.Image.SectorSize = 4096; d.Size -= 512 }, want: []string{"no whole sectors of 4096"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := plan()
			if c.change != nil {
				c.change(d)
			}
			if c.volumes == nil {
				c.volumes = root()
			}
			_, err := disk.New(d, c.table, c.volumes, c.code)
			if err == nil {
				t.Fatal("there is no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not hold %q", err, w)
				}
			}
		})
	}
}
