package verify

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
	if c, ok := formatChecker(report.Format); ok && len(o.Image.Backing) == 0 {
		r.ask(ctx, c, report.Format, func() (string, func(), error) { return r.Path, func() {}, nil })
	}
	if report.Table != nil {
		if c, ok := tableChecker(report.Table.Kind); ok {
			r.ask(ctx, c, report.Table.Kind, func() (string, func(), error) { return copied(ctx, image.Disk(), o.TempDir) })
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
		defer remove()
		var output []byte
		cmd := exec.CommandContext(ctx, program, append(c.args, path)...)
		output, err = cmd.CombinedOutput()
		var exit *exec.ExitError
		if err == nil || errors.As(err, &exit) {
			err = nil
			if !c.right(cmd.ProcessState.ExitCode(), string(output)) {
				check.Fault = lastLines(string(output))
			}
		}
	}
	if err != nil {
		check.Skipped = err.Error()
	}
	r.add(check)
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
