package verify

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// checker is a program of others that says whether something is right.
type checker struct {
	program string
	args    []string // the file comes after them
	right   func(status int, output string) bool
}

func zero(status int, _ string) bool { return status == 0 }

// formatChecker gives the checker of an image format.
func formatChecker(name string) (checker, bool) {
	known := map[string]string{"qcow2": "qcow2", "vmdk": "vmdk", "vhdx": "vhdx", "vdi": "vdi"}
	if known[name] == "" {
		return checker{}, false
	}
	return checker{"qemu-img", []string{"check", "-q", "-f", known[name]}, zero}, true
}

// volumeChecker gives the checker of a file system.
func volumeChecker(kind string) (checker, bool) {
	switch kind {
	case "ext2", "ext3", "ext4":
		return checker{"e2fsck", []string{"-fn"}, zero}, true
	case "vfat":
		return checker{"fsck.vfat", []string{"-n"}, zero}, true
	case "xfs":
		return checker{"xfs_repair", []string{"-n", "-f"}, zero}, true
	case "btrfs":
		return checker{"btrfs", []string{"check", "--readonly"}, zero}, true
	case "erofs":
		return checker{"fsck.erofs", nil, zero}, true
	}
	return checker{}, false
}

// tableChecker gives the checker of a partition table.
func tableChecker(kind string) (checker, bool) {
	if kind != "gpt" {
		return checker{"sfdisk", []string{"-V", "-q"}, zero}, kind == "mbr"
	}
	return checker{"sgdisk", []string{"-v"}, func(status int, output string) bool {
		return status == 0 && strings.Contains(output, "No problems found")
	}}, true
}

// others asks the checkers that the machine has.
func (r *Report) others(ctx context.Context, image *inspect.Image, o Options) {
	report := image.Report()
	if c, ok := formatChecker(report.Format); ok && o.Image.Alone() {
		r.ask(ctx, c, report.Format, r.itself)
	}
	if report.Table != nil {
		file := func() (string, func(), error) { return copied(ctx, image.Disk(), o.TempDir) }
		if report.Format == "raw" {
			file = r.itself
		}
		// Of a file, both take sectors to be of 512 bytes.
		if c, ok := tableChecker(report.Table.Kind); ok && report.Table.SectorSize == 512 {
			r.ask(ctx, c, report.Table.Kind, file)
		}
	}
	for _, part := range image.Parts() {
		if part.FileSystem == nil {
			continue
		}
		if c, ok := volumeChecker(part.FileSystem.Type); ok {
			r.ask(ctx, c, part.Name+" "+part.FileSystem.Type, func() (string, func(), error) { return copied(ctx, part.Bytes, o.TempDir) })
		}
	}
}

// itself gives the image's own file, in a form that no program takes for an option
// or for the name of a protocol.
func (r *Report) itself() (string, func(), error) {
	path, err := filepath.Abs(r.Path)
	return path, func() {}, err
}

// ask runs one checker on a file that is made only if the machine has it.
func (r *Report) ask(ctx context.Context, c checker, what string, file func() (string, func(), error)) {
	check := Check{What: what, By: c.program}
	program, err := find(c.program)
	if err != nil {
		check.Skipped = "it is not installed"
		r.add(check)
		return
	}
	path, remove, err := file()
	if err == nil {
		check.Fault, err = c.run(ctx, program, path)
		remove()
	}
	if err != nil {
		check.Skipped = err.Error()
	}
	r.add(check)
}

// run gives what the checker found to be wrong, "" for nothing. An error means that
// it did not run.
func (c checker) run(ctx context.Context, program, path string) (string, error) {
	var output tail
	cmd := exec.CommandContext(ctx, program, append(slices.Clone(c.args), path)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return "", errors.Join(err, ctx.Err())
	}
	if c.right(cmd.ProcessState.ExitCode(), string(output)) {
		return "", nil
	}
	return strings.TrimSuffix(cmd.ProcessState.String()+": "+lastLines(string(output)), ": "), nil
}

// tail keeps the end of what is written to it: a checker may have a line for
// every block.
type tail []byte

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if n := len(*t); n > 2*tailSize {
		*t = append((*t)[:0], (*t)[n-tailSize:]...)
	}
	return len(p), nil
}

// find looks where programs of the administrator are, too.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// copied writes an image into a sparse temporary file.
func copied(ctx context.Context, img sparse.Image, dir string) (string, func(), error) {
	temp, err := os.MkdirTemp(dir, "dibber-verify-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { os.RemoveAll(temp) }
	f, err := os.Create(filepath.Join(temp, "volume"))
	if err == nil {
		err = errors.Join(f.Truncate(img.Size()), sparse.Copy(f, sparse.WithContext(ctx, img), sparse.CopyOptions{}), f.Close())
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return f.Name(), remove, nil
}

// lastLines is the end of what a checker said, where its verdict stands.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
