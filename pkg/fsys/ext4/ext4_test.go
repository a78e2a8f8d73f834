package ext4

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func TestStructuresHaveTheirSizesOnDisk(t *testing.T) {
	for _, c := range []struct {
		structure any
		want      int
	}{{superBlock{}, superSize}, {groupDesc{}, 64}, {diskInode{}, goodOldInode + extraInode}, {journalSuper{}, 68}} {
		if got := binary.Size(c.structure); got != c.want {
			t.Errorf("%T has %d bytes, not %d", c.structure, got, c.want)
		}
	}
}

func TestSmallTreePassesTheCheck(t *testing.T) {
	checked(t, small().tree(), 64<<20, testOptions())
}

func TestSizesAndBlockSizesPassTheCheck(t *testing.T) {
	const meg = 1 << 20
	for _, size := range []int64{4 * meg, 16 * meg, 64 * meg, 127*meg + 12345, 512 * meg, 1 << 30, 5<<30 + 4096*77, 8 << 40} {
		for _, bs := range []int{0, 1024, 2048, 4096} {
			if size > 1<<40 && bs != 0 {
				continue
			}
			o := testOptions()
			o.BlockSize = bs
			t.Run(fmt.Sprintf("%d-%d", size, bs), func(t *testing.T) {
				needRoomFor(t, size)
				checked(t, small().tree(), size, o)
			})
		}
	}
}
