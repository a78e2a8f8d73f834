package xfs_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// empty is a new volume without files, and its path.
func empty(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, xfs.LeastSize); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "mkfs.xfs", append(args, "-q", "-f", file)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

func refusal(t *testing.T, file string) string {
	t.Helper()
	img, err := sparse.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err = xfs.Open(img); err == nil {
		return ""
	}
	return err.Error()
}

func TestVolumeInNeedOfRepairIsRefused(t *testing.T) {
	file := empty(t)
	if got := refusal(t, file); got != "" {
		t.Fatal(got)
	}
	if out, err := judge.Run(t, "xfs_db", "-x", "-c", "sb 0", "-c", "write features_incompat 0x1b", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := refusal(t, file); !strings.Contains(got, "run xfs_repair") {
		t.Error(got)
	}
}

func TestUnknownFeatureIsRefusedByName(t *testing.T) {
	b, err := os.ReadFile(empty(t))
	if err != nil {
		t.Fatal(err)
	}
	b[218] |= 1 // of sb_features_incompat
	clear(b[224:228])
	binary.LittleEndian.PutUint32(b[224:], crc32.Checksum(b[:512], crc32.MakeTable(crc32.Castagnoli)))
	if _, err := xfs.Open(sparse.Bytes(b)); err == nil || !strings.Contains(err.Error(), "metadir") {
		t.Error(err)
	}
}

func TestWrongChecksumsAreFound(t *testing.T) {
	file := empty(t)
	for _, c := range []struct {
		at   int64
		want string
	}{{110, "superblock is damaged"}, {128*512 + 20, "checksum is wrong"}} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[c.at] ^= 1
		if _, err := xfs.Open(sparse.Bytes(b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("byte %d: %v", c.at, err)
		}
	}
}

func TestLogThatIsNotEmptyIsRefused(t *testing.T) {
	file := empty(t)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dirty := 0
	for at := 0; at+512 <= len(b); at += 512 { // the unmount becomes something else
		if string(b[at:at+4]) == "\xfe\xed\xba\xbe" {
			b[at+512+9] = 0
			dirty++
		}
	}
	if _, err := xfs.Open(sparse.Bytes(b)); dirty == 0 || err == nil || !strings.Contains(err.Error(), "its log is not empty") {
		t.Errorf("%d records: %v", dirty, err)
	}
}
