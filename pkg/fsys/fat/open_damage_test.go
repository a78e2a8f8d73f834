package fat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// volume is a small one as bytes, for damaging: FAT12, sectors of 512 bytes,
// clusters of 2 KiB, the table at sector 4.
func volume(t testing.TB) ([]byte, int64) {
	tr := treetest.New(t, map[string]string{
		"/a":                 "file 0644 0:0 " + strings.Repeat("a", 5000),
		"/b":                 "file 0644 0:0 " + strings.Repeat("b", 5000),
		"/d/x":               "file 0644 0:0 x",
		"/a name with words": "file 0644 0:0 w",
	})
	v := plan(t, tr, 256*kib, fat.Options{Label: "SMALL"})
	b := make([]byte, v.Size())
	if _, err := v.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b, int64(binary.LittleEndian.Uint16(b[14:])) * 512
}

// link puts an entry into a table of 12 bits.
func link(b []byte, table int64, cluster, next uint16) {
	at := table + int64(cluster)*3/2
	n := binary.LittleEndian.Uint16(b[at:])
	if cluster%2 == 0 {
		n = n&0xf000 | next
	} else {
		n = n&0x000f | next<<4
	}
	binary.LittleEndian.PutUint16(b[at:], n)
}

// slot finds the directory entry with a short name.
func slot(t testing.TB, b []byte, short string) []byte {
	at := bytes.Index(b, fmt.Appendf(nil, "%-11s", short))
	if at < 0 {
		t.Fatalf("no entry %s", short)
	}
	return b[at : at+32]
}

func TestDamagedFilesAreErrorsByPath(t *testing.T) {
	le := binary.LittleEndian
	for what, c := range map[string]struct {
		damage func(b []byte, table int64)
		want   string
	}{
		"a loop":         {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a+2, a) }, "/a: its clusters do not end after 3 of them"},
		"too long":       {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a+2, 60) }, "/a: its clusters do not end after 3 of them"},
		"too short":      {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a+1, 0xfff) }, "/a: its clusters end after 2 of 3"},
		"a free cluster": {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a, 0) }, "/a: its clusters lead to one that is free"},
		"a bad cluster":  {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a, 0xff7) }, "marked bad"},
		"beyond the end": {func(b []byte, table int64) { a := le.Uint16(slot(t, b, "A")[26:]); link(b, table, a, 0xf00) }, "/a: its clusters lead to cluster 3840"},
		"one start":      {func(b []byte, table int64) { copy(slot(t, b, "B")[26:28], slot(t, b, "A")[26:28]) }, "/b: its cluster"},
		"one end": {func(b []byte, table int64) {
			a := le.Uint16(slot(t, b, "A")[26:])
			link(b, table, le.Uint16(slot(t, b, "B")[26:])+1, a+2)
		}, "/b: its cluster"},
		"a file in a directory's cluster": {func(b []byte, table int64) { copy(slot(t, b, "X")[26:28], slot(t, b, "D")[26:28]) }, "/d/x: its cluster"},
		"no clusters":                     {func(b []byte, table int64) { le.PutUint16(slot(t, b, "A")[26:], 0) }, "/a: its clusters lead to one that is free"},
		"clusters of an empty file":       {func(b []byte, table int64) { le.PutUint32(slot(t, b, "A")[28:], 0) }, "/a: it is empty, and yet it has clusters"},
		"a larger size":                   {func(b []byte, table int64) { le.PutUint32(slot(t, b, "A")[28:], 1<<32-1) }, "/a: its clusters end after 3 of 2097152"},
		"a directory's loop":              {func(b []byte, table int64) { d := le.Uint16(slot(t, b, "D")[26:]); link(b, table, d, d) }, "/d: its clusters do not end after 1024 of them"},
		"a directory in itself": {func(b []byte, table int64) {
			x, d := slot(t, b, "X"), slot(t, b, "D")
			copy(x[26:28], d[26:28])
			x[11] = 0x10
		}, "/d/x: its cluster"},
		"a name that is none": {func(b []byte, table int64) { copy(slot(t, b, "X"), "A/B") }, "/d: its entry \"A/B\" is no name"},
		"one name twice":      {func(b []byte, table int64) { copy(slot(t, b, "B"), "A") }, `the name "A" is there twice`},
	} {
		b, table := volume(t)
		for _, short := range []string{"A", "B"} { // without their long names, which are in lower case
			slot(t, b, short)[12] = 0x08
		}
		for at := 0; at < len(b); at += 32 {
			if b[at+11] == 0x0f && (b[at+1] == 'a' || b[at+1] == 'b') && b[at+3] == 0 {
				b[at] = 0xe5
			}
		}
		if what == "one name twice" {
			slot(t, b, "A")[12], slot(t, b, "B")[12] = 0, 0
		}
		c.damage(b, table)
		f := open(t, sparse.Bytes(b))
		if _, err := tree.Load(f, f.Root(), 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v, want %q", what, err, c.want)
		}
	}
}

func TestDamagedBootSectorsAreErrors(t *testing.T) {
	for want, damage := range map[string]func(b []byte){
		"it should have 33553920 bytes, and the image has 262144": func(b []byte) { b[19], b[20] = 0xff, 0xff },
		"leave no room for clusters":                              func(b []byte) { b[19], b[20] = 20, 0 },
		"its root directory has no entries":                       func(b []byte) { b[17], b[18] = 0, 0 },
		"a root directory outside the clusters":                   func(b []byte) { b[22], b[23], b[36], b[37], b[38], b[39] = 0, 0, 1, 0, 0, 0 },
		"its tables have no sectors":                              func(b []byte) { b[22], b[23], b[36], b[37], b[38], b[39] = 0, 0, 0, 0, 0, 0 },
	} {
		b, _ := volume(t)
		damage(b)
		if _, err := fat.Open(sparse.Bytes(b)); err == nil || errors.Is(err, fat.ErrNone) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
