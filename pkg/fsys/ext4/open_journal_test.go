package ext4

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// dirty makes a volume whose journal holds three transactions of debugfs that
// write, escape, overwrite and revoke blocks of the file /b.
func dirty(t *testing.T, open string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Mkdir(at("d"), 0o755))
	must(t, os.WriteFile(at("d/a"), []byte("content"), 0o644))
	must(t, os.WriteFile(at("d/b"), noise(1, 8000), 0o644))
	must(t, os.WriteFile(at("plain"), []byte(strings.Repeat("Z", 2048)), 0o644))
	must(t, os.WriteFile(at("escaped"), []byte("\xc0\x3b\x39\x98"+strings.Repeat("Q", 1020)), 0o644))
	path := madeBy(t, 16<<20, append([]string{"-t", "ext4", "-b", "1024", "-d", at("d")}, args...)...)
	blocks := strings.Fields(blocksOf(t, path, "/b"))
	script := fmt.Sprintf("%s\njw -b %s,%s %s\njc\n", open, blocks[0], blocks[1], at("plain")) +
		fmt.Sprintf("%s\njw -b %s %s\njc\n", open, blocks[2], at("escaped")) +
		fmt.Sprintf("%s\njw -r %s\njw -b %s %s\njc\n", open, blocks[1], blocks[0], at("escaped"))
	must(t, os.WriteFile(at("script"), []byte(script), 0o644))
	judge.Must(t, "debugfs", "-w", "-f", at("script"), path)
	return path
}

// blocksOf lists the blocks of a file.
func blocksOf(t *testing.T, path, file string) string {
	t.Helper()
	var numbers []string
	for _, word := range strings.Fields(debugfs(t, path, "blocks "+file)) {
		if _, err := strconv.Atoi(word); err == nil {
			numbers = append(numbers, word)
		}
	}
	return strings.Join(numbers, " ")
}

func TestDirtyJournalReadsAsE2fsckReplaysIt(t *testing.T) {
	for _, c := range []struct {
		open string
		args []string
	}{
		{"jo -c -v 3", nil},
		{"jo -c -v 2", nil},
		{"jo", []string{"-O", "^metadata_csum"}},
		{"jo -c -v 3", []string{"-O", "^64bit"}},
		{"jo -c -v 2", []string{"-O", "^64bit"}},
		{"jo", []string{"-O", "^64bit,^metadata_csum,^extent"}},
		{"jo", []string{"-O", "^metadata_csum", "-J", "fast_commit_size=256", "-O", "fast_commit"}},
	} {
		t.Run(c.open+strings.Join(c.args, " "), func(t *testing.T) {
			path := dirty(t, c.open, c.args...)
			f, err := openImage(t, path)
			must(t, err)
			if i := f.Info(); !i.NeedsRecovery || i.Clean {
				t.Errorf("the volume says %+v", i)
			}
			got := treetest.Format(t, loaded(t, f))

			before, err := os.ReadFile(path)
			must(t, err)
			_, err = judge.Run(t, "e2fsck", "-fy", path)
			t.Log(err)
			f, err = openImage(t, path)
			must(t, err)
			if f.Info().NeedsRecovery {
				t.Fatal("e2fsck left the journal as it is")
			}
			want := treetest.Format(t, loaded(t, f))
			treetest.CompareLines(t, got, want)

			// Without the journal, the content is another.
			binary.LittleEndian.PutUint32(before[superOffset+0x60:], binary.LittleEndian.Uint32(before[superOffset+0x60:])&^openRecover)
			resum(before)
			f, err = Open(sparse.Bytes(before))
			must(t, err)
			if treetest.Format(t, loaded(t, f))["/b"] == want["/b"] {
				t.Error("the journal changes nothing")
			}
		})
	}
}

// resum brings the superblock's checksum up to date.
func resum(image []byte) {
	b := image[superOffset:][:superSize]
	binary.LittleEndian.PutUint32(b[superChecksum:], newChecksums([16]byte{}).add(^uint32(0), b[:superChecksum]))
}

func TestDamagedJournalIsRefused(t *testing.T) {
	path := dirty(t, "jo -c -v 3")
	image, err := os.ReadFile(path)
	must(t, err)
	first, err := strconv.Atoi(strings.Fields(blocksOf(t, path, "<8>"))[1])
	must(t, err)
	for _, c := range []struct {
		what  string
		block int
		want  string
	}{
		{"superblock", -1, "superblock has a wrong checksum"},
		{"descriptor", 0, "transaction 1: a block has a wrong checksum"},
		{"data", 1, "the copy of block"},
		{"commit", 3, "transaction 1: the block that commits it has a wrong checksum"},
	} {
		t.Run(c.what, func(t *testing.T) {
			bad := append([]byte{}, image...)
			bad[(first+c.block)*1024+0x41]++
			_, err := Open(sparse.Bytes(bad))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "e2fsck") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTransactionThatWasNotCommittedIsIgnored(t *testing.T) {
	path := dirty(t, "jo -c -v 3")
	image, err := os.ReadFile(path)
	must(t, err)
	f, err := Open(sparse.Bytes(image))
	must(t, err)
	all := treetest.Format(t, loaded(t, f))["/b"]
	first, err := strconv.Atoi(strings.Fields(blocksOf(t, path, "<8>"))[1])
	must(t, err)
	clear(image[(first+3)*1024:][:1024]) // the first commit
	f, err = Open(sparse.Bytes(image))
	must(t, err)
	if got := treetest.Format(t, loaded(t, f))["/b"]; got == all {
		t.Error("it is replayed")
	}
	if got := len(f.blocks.copies); got != 0 {
		t.Errorf("%d blocks are replayed", got)
	}
}

func TestFastCommitsAreRefusedByNameUnlessLeftOver(t *testing.T) {
	path := dirty(t, "jo", "-O", "^metadata_csum,fast_commit", "-J", "fast_commit_size=256")
	image, err := os.ReadFile(path)
	must(t, err)
	journal := strings.Fields(blocksOf(t, path, "<8>"))
	super, err := strconv.Atoi(journal[0])
	must(t, err)
	be := binary.BigEndian
	s := image[super*1024:]
	be.PutUint32(s[0x28:], be.Uint32(s[0x28:])|journalFastCommit)
	be.PutUint32(s[journalSuperFast:], 8)
	place, err := strconv.Atoi(journal[be.Uint32(s[16:])-8+1])
	must(t, err)
	head := image[place*1024:]
	binary.LittleEndian.PutUint16(head, 9)
	binary.LittleEndian.PutUint16(head[2:], 8)
	sequence := be.Uint32(s[24:])
	for add, refused := range map[uint32]bool{0: false, 3: false, 4: true, 5: false} {
		binary.LittleEndian.PutUint32(head[8:], sequence+add)
		_, err := Open(sparse.Bytes(image))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "fast_commit") {
			t.Errorf("after %d transactions: %v", add, err)
		}
	}
}
