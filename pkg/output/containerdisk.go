package output

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/oci"
)

// ContainerDisk is the output type of an OCI image that holds nothing but a disk,
// for KubeVirt.
const ContainerDisk = "containerdisk"

// qemuID is the user and group by which KubeVirt runs QEMU.
const qemuID = 107

// writeContainerDisks writes every disk into an image of its own.
func (w *Writer) writeContainerDisks(ctx context.Context, disks []Disk) error {
	for _, d := range disks {
		if err := w.writeContainerDisk(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// writeContainerDisk writes the disk straight to where it will lie in the layer, and
// the layer to where it will lie in the image layout: there is never a second copy.
func (w *Writer) writeContainerDisk(ctx context.Context, d Disk) error {
	suffix := diskSuffix(d.Name)
	path := w.path(ContainerDisk, suffix)
	end := w.begin(writing(path))
	dir, err := artifact.CreateDir(path, layoutMarker)
	if err != nil {
		return err
	}
	defer dir.Discard()
	dir.NoSync = w.NoSync
	blobs := filepath.Join(dir.Temp(), "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o777); err != nil {
		return err
	}
	layer := filepath.Join(blobs, "layer")
	if err := w.writeDiskLayer(ctx, layer, d, suffix); err != nil {
		return err
	}
	image, err := oci.Assemble(ctx, nil, []oci.Layer{{Tar: layer, CreatedBy: "dibber: the disk of " + filepath.Base(w.Name), Plain: true}}, oci.Config{
		Architecture: w.Arch, Created: time.Unix(d.Time, 0), TempDir: w.TempDir,
	})
	if err != nil {
		return err
	}
	if err := os.Rename(layer, filepath.Join(blobs, strings.TrimPrefix(image.Layers()[0].Digest, "sha256:"))); err != nil {
		return err
	}
	if err := image.AdoptLayout(ctx, dir.Temp(), "latest"); err != nil {
		return err
	}
	if err := dir.Commit(); err != nil {
		return err
	}
	end()
	return w.record(ContainerDisk, path, image.Digest())
}

// writeDiskLayer writes a tar of the directory disk with the disk in it.
func (w *Writer) writeDiskLayer(ctx context.Context, path string, d Disk, suffix string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	name := filepath.Base(w.Name) + suffix + format.Extension(format.QCOW2)
	head, err := diskHeaders(name, math.MaxInt32, d.Time) // to learn how long they are
	if err != nil {
		return err
	}
	content := &below{f, int64(len(head)), 0}
	options := w.FormatOptions(ContainerDisk)
	options.ID, options.Created = d.ID, time.Unix(d.Time, 0).UTC()
	options.Progress = func(done, total int64) {
		w.tell(Event{Kind: Progress, Step: writing(w.path(ContainerDisk, suffix)), Done: done, Total: total})
	}
	if err := format.Write(ctx, format.QCOW2, content, d.Bytes, options); err != nil {
		return err
	}
	head, err = diskHeaders(name, content.size, d.Time)
	if err != nil {
		return err
	}
	if int64(len(head)) != content.offset {
		return fmt.Errorf("internal error: the headers of %s take %d bytes, not %d", name, len(head), content.offset)
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	const block, trailer = 512, 1024
	end := (content.offset+content.size+block-1)/block*block + trailer
	return errors.Join(f.Truncate(end), f.Close())
}

// diskHeaders gives what lies before the disk in the tar: a length that does not
// depend on the size.
func diskHeaders(name string, size, at int64) ([]byte, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	owned := tar.Header{Uid: qemuID, Gid: qemuID, ModTime: time.Unix(at, 0), Format: tar.FormatGNU}
	dir, file := owned, owned
	dir.Typeflag, dir.Name, dir.Mode = tar.TypeDir, "disk/", 0o555
	file.Typeflag, file.Name, file.Mode, file.Size = tar.TypeReg, "disk/"+name, 0o440, size
	if err := errors.Join(t.WriteHeader(&dir), t.WriteHeader(&file)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// below is a file without its first bytes.
type below struct {
	file         *os.File
	offset, size int64
}

func (b *below) WriteAt(p []byte, off int64) (int, error) {
	return b.file.WriteAt(p, off+b.offset)
}

// Truncate sets the size. The last call gives that of the disk.
func (b *below) Truncate(size int64) error {
	b.size = size
	return b.file.Truncate(size + b.offset)
}

var _ format.Destination = (*below)(nil)
