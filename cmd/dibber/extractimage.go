//go:build containers_image_openpgp

package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/fstab"
	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// extractImageCommand is what stands for the loop devices in the extract-image of
// elements.
func (a *app) extractImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "extract-image IMAGE OUTPUT",
		Short: "Pack the root file system of a disk image into a .tgz, or into a tar on stdout (-)",
		Args:  exactArgs(2, "a disk image and the archive to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.extractImage(cmd.Context(), args[0], args[1])
		},
	}
}

func (a *app) extractImage(ctx context.Context, name, output string) error {
	image, err := inspect.Open(name, inspect.Options{TempDir: first(os.Getenv("TMP_DIR"), os.TempDir())})
	if err != nil {
		return err
	}
	defer image.Close()
	t, err := rootOfImage(image)
	if err != nil {
		return fmt.Errorf("cannot find the root file system of %s: %w", name, err)
	}
	defer t.Close()
	if dev := t.Lookup("/dev"); dev != nil {
		dev.Children = nil // the kernel's, at every boot
	}
	if output == "-" {
		return tarfile.Write(ctx, a.stdout, t, tarfile.Options{Prefix: "./"})
	}
	return packTree(ctx, t, output)
}

// packTree writes a compressed archive that is there whole or not at all.
func packTree(ctx context.Context, t *tree.Tree, output string) error {
	f, err := os.CreateTemp(filepath.Dir(output), ".dibber-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", output, err)
	}
	defer os.Remove(f.Name())
	packed, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err == nil {
		err = tarfile.Write(ctx, packed, t, tarfile.Options{Prefix: "./"})
	}
	if err == nil {
		err = packed.Close()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), output)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", output, err)
	}
	return nil
}

// rootOfImage finds the root file system, joined as its fstab says. What no line
// mounts is known by its partition: distributions leave such lines to systemd.
func rootOfImage(image *inspect.Image) (*tree.Tree, error) {
	t, err := loadRoot(image)
	if err != nil {
		return nil, err
	}
	for _, p := range image.Parts() {
		at := ""
		switch {
		case p.Source == nil || p.Mount != "":
		case p.Type == "EFI System":
			at = "/boot/efi"
		case p.Type == "Linux extended boot", p.FileSystem != nil && p.FileSystem.Label == "boot":
			at = "/boot"
		}
		if at == "" {
			continue
		}
		if err := graft(t, at, p.Source, p.Source.Root()); err != nil {
			return nil, fmt.Errorf("%s at %s: %w", p.Name, at, err)
		}
	}
	return t, nil
}

func loadRoot(image *inspect.Image) (*tree.Tree, error) {
	source, place, err := image.Find("/")
	if err == nil {
		return tree.Load(source, place.Number, 0)
	}
	for _, p := range image.Parts() {
		if p.Source == nil || p.FileSystem == nil || p.FileSystem.Type != "btrfs" {
			continue
		}
		if _, missing := tree.Find(p.Source, "/root/usr"); missing == nil {
			return loadSubvolumes(p)
		}
	}
	return nil, err
}

// loadSubvolumes joins subvolumes of a btrfs, the one called root being the root
// file system, as its fstab says.
func loadSubvolumes(p inspect.Part) (*tree.Tree, error) {
	root, err := tree.Find(p.Source, "/root")
	if err != nil {
		return nil, err
	}
	t, err := tree.Load(p.Source, root.Number, 0)
	if err != nil {
		return nil, err
	}
	text, err := t.ReadFile("/etc/fstab", 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lines := fstab.Parse(string(text))
	slices.SortStableFunc(lines, func(a, b fstab.Line) int { return strings.Compare(a.Point, b.Point) })
	for _, line := range lines {
		for _, option := range line.Options {
			name, is := strings.CutPrefix(option, "subvol=")
			if !is || line.Type != "btrfs" || line.Point == "/" {
				continue
			}
			place, err := tree.Find(p.Source, "/"+strings.TrimPrefix(name, "/"))
			if err != nil {
				continue
			}
			if err := graft(t, line.Point, p.Source, place.Number); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// graft mounts a directory of a source over one of the tree, if it is there.
func graft(t *tree.Tree, at string, source tree.Source, number uint64) error {
	node := t.Lookup(at)
	if node == nil || !node.Inode.IsDir() {
		return nil
	}
	add, err := tree.Load(source, number, 0)
	if err != nil {
		return err
	}
	node.Inode, node.Children = add.Root.Inode, add.Root.Children
	return nil
}
