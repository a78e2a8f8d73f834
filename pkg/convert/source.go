package convert

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// Source is an open root file system, or a disk.
type Source struct {
	Name  string       // as the user wrote it
	Tree  *tree.Tree   // nil for a disk
	Image *oci.Image   // nil when the source is none
	Disk  sparse.Image // nil when the source is none

	close []func() error
}

// OfDisk is a disk image that the caller has opened; closing the source closes it.
func OfDisk(name string, disk sparse.Image, closeDisk func() error) *Source {
	return &Source{Name: name, Disk: disk, close: []func() error{closeDisk}}
}

// Close lets go of what the tree is read from.
func (s *Source) Close() error {
	var errs []error
	for _, c := range s.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Labels are those of the image, if the source is one.
func (s *Source) Labels() map[string]string {
	if s.Image == nil {
		return nil
	}
	return s.Image.Labels()
}

// Arch is the architecture of the image, or that of the programs in the tree,
// as OCI images name it; "" is unknown.
func (s *Source) Arch() string {
	if s.Image != nil {
		_, arch, _ := strings.Cut(s.Image.Platform(), "/")
		return arch
	}
	for _, program := range []string{"/bin/sh", "/sbin/init", "/usr/bin/env"} {
		if _, n, err := s.Tree.Resolve(program); err == nil && n.Inode.Type() == tree.TypeRegular {
			if f, err := elf.NewFile(n.Inode.Reader()); err == nil {
				return archOf(f.Machine)
			}
		}
	}
	return ""
}

func archOf(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_PPC64:
		return "ppc64le"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_RISCV:
		return "riscv64"
	}
	return ""
}

// Identity gives 16 bytes that follow from the content: from the digests of an
// image's layers, else from all that the tree holds.
func (s *Source) Identity(ctx context.Context) ([16]byte, error) {
	if s.Image == nil {
		return identify(ctx, s.Tree)
	}
	h := newHash()
	for _, layer := range s.Image.Layers() {
		h.Write(appendText(nil, layer.DiffID))
	}
	return [16]byte(h.Sum(nil)), nil
}

// openDir reads a directory of the machine. Owners are as they are there.
func openDir(dir string) (*Source, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, err
	}
	t, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		return nil, err
	}
	return &Source{Tree: t, close: []func() error{t.Close}}, nil
}

// isTar tells whether an image begins as a tar does.
func isTar(img sparse.Image) bool {
	magic := make([]byte, 5)
	_, err := img.ReadAt(magic, 257)
	return err == nil && string(magic) == "ustar"
}

// readTar turns a source that was opened as bytes into the tree of a tar.
func readTar(s *Source) (*Source, error) {
	t, err := tarfile.Read(s.Disk, s.Disk.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the tar: %w", err), s.Close())
	}
	s.Tree, s.Disk = t, nil
	return s, nil
}
