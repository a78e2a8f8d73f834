// Package verify opens finished images again and checks them: every byte is
// read, every file system is walked with its checksums, and checkers of others
// (qemu-img, e2fsck, fsck.vfat, sgdisk) are asked where the machine has them.
//
// It knows what inspect can read, and nothing of how an image was made. It
// repairs nothing.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Check is one thing that was looked at.
type Check struct {
	What    string `json:"what"`            // "p3 ext4"
	By      string `json:"by"`              // "dibber", "e2fsck"
	Fault   string `json:"fault,omitempty"` // "": it is right
	Skipped string `json:"skipped,omitempty"`
	Said    string `json:"said,omitempty"` // what was found in numbers
}

// Report is all that was looked at in one image.
type Report struct {
	Path   string  `json:"path"`
	Checks []Check `json:"checks"`
}

// FaultError tells that an image is not what it should be.
type FaultError struct {
	Path   string
	Faults []Check
}

func (e *FaultError) Error() string {
	first := e.Faults[0]
	text := fmt.Sprintf("%s is not right: %s, by %s: %s", e.Path, first.What, first.By, first.Fault)
	if n := len(e.Faults); n > 1 {
		text += fmt.Sprintf(" (and %d more)", n-1)
	}
	return text
}

// Err is nil when nothing is wrong.
func (r *Report) Err() error {
	var faults []Check
	for _, c := range r.Checks {
		if c.Fault != "" {
			faults = append(faults, c)
		}
	}
	if faults == nil {
		return nil
	}
	return &FaultError{r.Path, faults}
}

// Options say how an image is checked.
type Options struct {
	Image   inspect.Options
	TempDir string // for copies of volumes that checkers of others are given; "" is the system's
	Own     bool   // ask no checkers of others
}

// Image checks the image in a file. An error means that it could not be checked;
// what is wrong with it is in the report.
func Image(ctx context.Context, path string, o Options) (*Report, error) {
	r := &Report{Path: path}
	image, err := inspect.Open(path, o.Image)
	var missing *fs.PathError
	if errors.As(err, &missing) || errors.Is(err, inspect.ErrKind) {
		return nil, err
	}
	if err != nil {
		r.add(Check{What: "the file", By: "dibber", Fault: err.Error()})
		return r, nil
	}
	defer image.Close()
	r.own(ctx, image)
	if !o.Own && ctx.Err() == nil {
		r.others(ctx, image, o)
	}
	return r, ctx.Err()
}

func (r *Report) add(c Check) { r.Checks = append(r.Checks, c) }

// own is what our readers find.
func (r *Report) own(ctx context.Context, image *inspect.Image) {
	report := image.Report()
	disk := Check{What: report.Format, By: "dibber"}
	if n, err := readAll(ctx, image.Disk()); err != nil {
		disk.Fault = err.Error()
	} else {
		disk.Said = fmt.Sprintf("%d bytes of data read", n)
	}
	r.add(disk)
	for _, fault := range report.Faults {
		r.add(Check{What: "the disk", By: "dibber", Fault: fault})
	}
	for _, part := range image.Parts() {
		r.add(walk(ctx, part))
	}
}

// readAll reads every byte that may not be zero.
func readAll(ctx context.Context, img sparse.Image) (int64, error) {
	total := int64(0)
	for _, e := range img.Extents() {
		section := io.NewSectionReader(sparse.WithContext(ctx, img), e.Offset, e.Length)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, section, make([]byte, 1<<20))
		total += n
		if err == nil && n < e.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return total, fmt.Errorf("reading at byte %d: %w", e.Offset+n, err)
		}
	}
	return total, nil
}

// walk reads a file system's whole tree and the content of all files.
func walk(ctx context.Context, part inspect.Part) Check {
	c := Check{What: part.Name, By: "dibber", Fault: part.Fault}
	if part.FileSystem != nil {
		c.What += " " + part.FileSystem.Type
	}
	if part.Source == nil {
		if c.Fault == "" {
			c.Skipped = "it holds no files"
		}
		return c
	}
	t, err := tree.Load(part.Source, part.Source.Root(), 0)
	if err != nil {
		c.Fault = err.Error()
		return c
	}
	names, bytes := 0, int64(0)
	seen := map[*tree.Inode]bool{}
	err = t.Walk(func(path string, n *tree.Node) error {
		names++
		if seen[n.Inode] || n.Inode.Size == 0 {
			return ctx.Err()
		}
		seen[n.Inode] = true
		read, err := readContent(ctx, n.Inode)
		bytes += read
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		c.Fault = err.Error()
	}
	c.Said = fmt.Sprintf("%d names, %d bytes", names, bytes)
	return c
}

// readContent reads what is no hole of a file.
func readContent(ctx context.Context, i *tree.Inode) (int64, error) {
	data := i.Data
	if data == nil {
		data = []tree.Range{{Length: i.Size}}
	}
	total := int64(0)
	buffer := make([]byte, 128<<10)
	for _, r := range data {
		for done := int64(0); done < r.Length; {
			if err := ctx.Err(); err != nil {
				return total, err
			}
			n, err := i.Content.ReadAt(buffer[:min(r.Length-done, int64(len(buffer)))], r.Offset+done)
			done += int64(n)
			total += int64(n)
			if done < r.Length && err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return total, err
			}
			if n == 0 && err == nil {
				return total, io.ErrNoProgress
			}
		}
	}
	return total, nil
}
