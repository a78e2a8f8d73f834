package fat_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/tree"
)

func TestOptionsOfMkfsAreUnderstood(t *testing.T) {
	for line, want := range map[string]fat.Options{
		"":                      {},
		"-F 32 -s 1":            {Bits: 32, ClusterSectors: 1},
		"-F32 -nEFI":            {Bits: 32, Label: "EFI"},
		"-avIF 16":              {Bits: 16, Unaligned: true},
		"-i 0xdeadbeef -S 4096": {Serial: 0xdeadbeef, SectorSize: 4096},
		"-i 12345678 -h 2048":   {Serial: 0x12345678, Hidden: 2048},
		"-f 1 -r 1024 -R 64":    {Tables: 1, RootEntries: 1024, ReservedSectors: 64},
	} {
		if got, err := fat.ParseOptions(strings.Fields(line)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
}

func TestOptionsNotUnderstoodAreRefusedByName(t *testing.T) {
	for line, want := range map[string]string{
		"-c":              `option "-c"`,
		"-D 128":          `option "-D"`,
		"-F":              "-F for vfat without a value",
		"-F 24":           "12, 16 or 32",
		"-F abc":          `"abc" is not a number`,
		"-s 0":            "not 0",
		"-S 99999":        "not a number in its range",
		"--invariant":     `"--invariant"`,
		"--mbr=y":         `"--mbr=y"`,
		"/dev/sda":        `"/dev/sda"`,
		"-":               `"-"`,
		"-n a/b":          "not allowed",
		"-n twelvechars1": "at most 11",
		"-i xyz":          `"xyz"`,
	} {
		if _, err := fat.ParseOptions(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("-F 32 -n EFI")
	f.Add("-aF16 -s 2")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := fat.ParseOptions(strings.Fields(line))
		if err != nil {
			return
		}
		// Whatever is understood can be planned or is refused, without a panic.
		root := &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir}}}
		if v, err := fat.Plan(root, 40*mib, o); err == nil && v.FreeClusters > v.Clusters {
			t.Errorf("%q: %d of %d clusters are free", line, v.FreeClusters, v.Clusters)
		}
	})
}
