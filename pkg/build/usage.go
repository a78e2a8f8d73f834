//go:build containers_image_openpgp

package build

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/dibber-project/dibber/pkg/tree"
)

// usage is the room that something takes with all that lies below it.
type usage struct {
	path  string
	bytes int64
}

// largeUsage is what is worth a line when not everything is asked for.
const largeUsage = 10 << 20

// tellUsage writes to the log what takes how much room, if the job wants that: the
// large things first.
func (o *outputs) tellUsage(t *tree.Tree) error {
	var err error
	switch {
	case o.job.ShowAllUsage:
		err = writeUsage(o.job.Log, "Image size report", usages(t, 0))
	case o.job.ShowUsage:
		err = writeUsage(o.job.Log, "Image size report (files > 10MiB)", usages(t, largeUsage))
	}
	if err != nil {
		return fmt.Errorf("cannot report the size of the image: %w", err)
	}
	return nil
}

// usages lists all that takes least bytes or more. A file of several names counts
// at the first of them.
func usages(t *tree.Tree, least int64) []usage {
	var found []usage
	seen := map[*tree.Inode]bool{}
	var visit func(name string, n *tree.Node) int64
	visit = func(name string, n *tree.Node) int64 {
		if seen[n.Inode] {
			return 0
		}
		seen[n.Inode] = true
		const block = 4096
		bytes := (n.Inode.Size + block - 1) / block * block
		if n.Inode.IsDir() {
			bytes = block
		}
		for _, child := range n.Children {
			bytes += visit(path.Join(name, child.Name), child)
		}
		if bytes >= least {
			found = append(found, usage{name, bytes})
		}
		return bytes
	}
	visit("/", t.Root)
	slices.SortFunc(found, func(a, b usage) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.path, b.path))
	})
	return found
}

func writeUsage(w io.Writer, title string, found []usage) error {
	if _, err := fmt.Fprintf(w, "===== %s =====\n", title); err != nil {
		return err
	}
	for _, u := range found {
		name := u.path
		if strings.ContainsFunc(name, unicode.IsControl) {
			name = strconv.Quote(name)
		}
		if _, err := fmt.Fprintf(w, "%7s %s\n", binarySize(u.bytes), name); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, "===== end image size report =====")
	return err
}

// binarySize writes a size as numfmt --to=iec-i does, rounded up: 4.0KiB, 12MiB.
func binarySize(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%dB", bytes)
	}
	units := "KMGTPE"
	size := float64(bytes) / 1024
	for size > 1023 && len(units) > 1 {
		size, units = size/1024, units[1:]
	}
	if size <= 9.9 {
		return fmt.Sprintf("%.1f%ciB", math.Ceil(size*10)/10, units[0])
	}
	return fmt.Sprintf("%.0f%ciB", math.Ceil(size), units[0])
}
