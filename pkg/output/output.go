package output

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/fsys/squashfs"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// extensions gives the ending of each type's file or directory.
func extensions() map[string]string {
	ext := map[string]string{
		"tar":            ".tar",
		"tgz":            ".tgz",
		"squashfs":       ".squash", // as diskimage-builder has it
		"aci":            ".aci",
		"vpc":            ".vpc", // qemu-img's name of vhd
		"oci":            ".oci", // a directory, an OCI image layout
		"oci-archive":    ".oci.tar",
		"docker-archive": ".docker.tar",
		ContainerDisk:    ".containerdisk", // a directory, an OCI image layout
	}
	for _, name := range format.Known() {
		ext[name] = format.Extension(name)
	}
	return ext
}

// Types lists the outputs that can be made.
func Types() []string {
	var names []string
	for name := range extensions() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Extension is the ending of a type's files, with its dot.
func Extension(name string) string { return extensions()[name] }

// IsDisk tells whether an output type is a disk image, be it within an OCI image.
func IsDisk(name string) bool { return slices.Contains(format.Known(), DiskFormat(name)) }

// DiskFormat is the format of the disk images of an output type.
func DiskFormat(name string) string {
	if name == ContainerDisk {
		return format.QCOW2
	}
	return format.Canonical(name)
}

// IsImage tells whether an output type is an OCI image.
func IsImage(name string) bool {
	return slices.Contains([]string{"oci", "oci-archive", "docker-archive"}, name)
}

// CheckTypes refuses a list of output types that is empty or has unknown ones.
func CheckTypes(types []string) error {
	if len(types) == 0 {
		return errors.New("no output type is asked for")
	}
	for _, name := range types {
		if !slices.Contains(Types(), name) {
			return &TypeError{Type: name, Known: Types()}
		}
	}
	return nil
}

// TypeError says that an output type is not known.
type TypeError struct {
	Type  string
	Known []string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("unknown output type %q: dibber writes %s", e.Type, strings.Join(e.Known, ", "))
}

// Made is one file or directory that was made.
type Made struct {
	Type   string `json:"type"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`             // bytes, of a directory's files together
	Digest string `json:"digest,omitempty"` // of an OCI image's manifest, or of what was pushed
	Ref    string `json:"ref,omitempty"`    // where it was pushed to
}

// Event is one thing that the user may want to know while outputs are written.
type Event struct {
	Kind        Kind
	Step        string
	Message     string // of Warned and Noted
	Took        time.Duration
	Done, Total int64 // bytes
}

// Kind tells what an Event is about.
type Kind int

// The kinds of Event.
const (
	Started Kind = iota
	Progress
	Ended
	Warned // of something that an output cannot hold
	Noted  // of an older output that was put aside
)

// Writer writes outputs beside each other under one name.
type Writer struct {
	Name      string // of the outputs without extension, a path
	Dir       string // what a relative Name is relative to; it is this process's working directory
	Checksums []artifact.Kind
	KeepOld   bool             // rename an older output rather than replace it
	Time      time.Time        // when the image is made: names an older output that is kept
	Now       func() time.Time // what events are measured by
	Observe   func(Event)      // may be nil
	Format    format.Options   // of disk images
	Tag       string           // of an image in a docker or OCI archive; "": after Name
	Manifest  []byte           // of an App Container Image
	Gzip      []string         // command that compresses a tgz from its input to its output; nil: none is needed
	NoSync    bool             // do not wait until outputs are on the disk
	TempDir   string           // for files of programs that write outputs; "" for the system's
	Arch      string           // architecture of the disks, where an output tells it; "": this machine's

	made []Made
}

// Content is what outputs are made of. Disks and Image are asked for at most
// once, and only when an output needs them.
type Content struct {
	Tree  *tree.Tree
	Disks func(context.Context) ([]Disk, error)
	Image func(context.Context) (*oci.Image, error)
}

// TryPlaces begins every output and discards it, so that a name that cannot be
// had is known before the work and not after it. disks are the names of the
// disks that there will be.
func (w *Writer) TryPlaces(types, disks []string) error {
	for _, kind := range types {
		suffixes := []string{""}
		if IsDisk(kind) {
			suffixes = nil
			for _, name := range disks {
				suffixes = append(suffixes, diskSuffix(name))
			}
		}
		for _, suffix := range suffixes {
			if err := tryPlace(kind, w.path(kind, suffix)); err != nil {
				return fmt.Errorf("cannot write the %s output: %w", kind, err)
			}
		}
	}
	return nil
}

func tryPlace(kind, path string) error {
	if kind == "oci" || kind == ContainerDisk {
		dir, err := artifact.CreateDir(path, layoutMarker)
		if err == nil {
			dir.Discard()
		}
		return err
	}
	file, err := artifact.Create(path)
	if err == nil {
		file.Discard()
	}
	return err
}

// layoutMarker is a file by which an OCI image layout is known.
const layoutMarker = "oci-layout"

// Write makes every wanted output, in the order of types, and tells what was
// made, also when it ends with an error.
func (w *Writer) Write(ctx context.Context, types []string, c Content) ([]Made, error) {
	var disks []Disk
	var image *oci.Image
	for _, kind := range types {
		var err error
		switch {
		case IsDisk(kind):
			if disks == nil {
				if disks, err = c.Disks(ctx); err != nil {
					return w.made, err
				}
			}
			if kind == ContainerDisk {
				err = w.writeContainerDisks(ctx, disks)
			} else {
				err = w.writeDisks(ctx, kind, disks)
			}
		case IsImage(kind):
			if image == nil {
				if image, err = c.Image(ctx); err != nil {
					return w.made, err
				}
			}
			err = w.writeImage(ctx, kind, image)
		default:
			err = w.writeTree(ctx, kind, c.Tree)
		}
		if ctx.Err() != nil {
			return w.made, ctx.Err()
		}
		if err != nil {
			return w.made, fmt.Errorf("cannot write the %s output: %w", kind, err)
		}
	}
	return w.made, nil
}

// writeTree writes the files without a disk around them.
func (w *Writer) writeTree(ctx context.Context, kind string, t *tree.Tree) error {
	return w.writeFile(ctx, kind, "", func(f *artifact.File) error {
		switch kind {
		case "tgz":
			return w.writeTgz(ctx, f, t)
		case "squashfs":
			return w.writeSquashfs(ctx, f, t)
		case "aci":
			return w.writeACI(ctx, f, t)
		}
		return writeTar(ctx, f, t)
	})
}

// writeTgz compresses the tar while it is made.
func (w *Writer) writeTgz(ctx context.Context, f *artifact.File, t *tree.Tree) error {
	r, in := io.Pipe()
	var making sync.WaitGroup
	making.Go(func() { in.CloseWithError(writeTar(ctx, in, t)) })
	err := w.gzip(ctx, f, r)
	r.CloseWithError(err) // ends the making of a tar that nobody reads
	making.Wait()
	return err
}

func (w *Writer) gzip(ctx context.Context, to *artifact.File, from io.Reader) error {
	if len(w.Gzip) == 0 {
		return compress.Stream(ctx, to, from, 0)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, w.Gzip[0], append(slices.Clone(w.Gzip[1:]), "-9")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = from, to.File, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compressing with %s: %w: %s", strings.Join(w.Gzip, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

// writeACI writes an App Container Image: the manifest and, below rootfs, what a
// tar holds.
func (w *Writer) writeACI(ctx context.Context, f *artifact.File, t *tree.Tree) error {
	if w.Manifest == nil {
		w.tell(Event{Kind: Warned, Message: "the aci has no manifest, without which nothing takes it: ACI_MANIFEST names one"})
	} else {
		head := tar.NewWriter(f)
		err := head.WriteHeader(&tar.Header{Name: "manifest", Mode: 0o644, Size: int64(len(w.Manifest)), ModTime: w.Time.Truncate(time.Second)})
		if err == nil {
			_, err = head.Write(w.Manifest)
		}
		if err := errors.Join(err, head.Flush()); err != nil {
			return err
		}
	}
	return tarfile.Write(ctx, f, t, tarfile.Options{Prefix: "rootfs/", Exclude: []string{"/sys", "/proc"}})
}

// writeSquashfs lets the program that makes it write into a directory of its own,
// as the output has no name yet.
func (w *Writer) writeSquashfs(ctx context.Context, f *artifact.File, t *tree.Tree) error {
	dir, err := os.MkdirTemp(w.TempDir, "dibber-squashfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	err = squashfs.Write(ctx, path, t, squashfs.Options{
		Time: w.Time.Unix(), TempDir: dir,
		Note: func(path, reason string) {
			w.tell(Event{Kind: Warned, Message: "the squashfs is without " + reason + " of " + path})
		},
	})
	if err != nil {
		return err
	}
	made, err := os.Open(path)
	if err != nil {
		return err
	}
	defer made.Close()
	_, err = f.ReadFrom(made)
	return err
}

// writeTar writes the tree as diskimage-builder's tar output: entries begin with
// "./", sys and proc are absent.
func writeTar(ctx context.Context, w io.Writer, t *tree.Tree) error {
	return tarfile.Write(ctx, w, t, tarfile.Options{Prefix: "./", Exclude: []string{"/sys", "/proc"}})
}

// name is an output's path as the user began it; suffix tells several disks apart.
func (w *Writer) name(kind, suffix string) string {
	return w.Name + suffix + extensions()[kind]
}

// path is an output's absolute path.
func (w *Writer) path(kind, suffix string) string {
	if name := w.name(kind, suffix); filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(w.Dir, w.name(kind, suffix))
}

// begin tells that a step has begun and gives a function that tells its end.
func (w *Writer) begin(step string) (end func()) {
	begun := w.Now()
	w.tell(Event{Kind: Started, Step: step})
	return func() { w.tell(Event{Kind: Ended, Step: step, Took: w.Now().Sub(begun)}) }
}

func (w *Writer) tell(e Event) {
	if w.Observe != nil {
		w.Observe(e)
	}
}

// writeFile makes one output file, whole or not at all.
func (w *Writer) writeFile(ctx context.Context, kind, suffix string, fill func(*artifact.File) error) error {
	path := w.path(kind, suffix)
	end := w.begin(writing(path))
	f, err := artifact.Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	f.NoSync = w.NoSync
	if err := fill(f); err != nil {
		return err
	}
	if err := w.makeRoom(path); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if len(w.Checksums) > 0 {
		if err := artifact.Checksums(ctx, w.name(kind, suffix), w.Checksums); err != nil {
			return err
		}
	}
	end()
	return w.record(kind, path, "")
}

// writing names the step that writes a file.
func writing(path string) string { return "writing " + filepath.Base(path) }

// makeRoom puts an older output aside where diskimage-builder would. An output
// that is replaced loses its checksums first, which are not those of the new one.
func (w *Writer) makeRoom(path string) error {
	if w.KeepOld {
		aside, err := artifact.Preserve(path, w.Time)
		if aside != "" {
			w.tell(Event{Kind: Noted, Message: "Old image found. It is now " + aside})
		}
		return err
	}
	var errs []error
	for _, kind := range artifact.Kinds() {
		if err := os.Remove(path + "." + string(kind)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// record notes an output with the space it takes.
func (w *Writer) record(kind, path, digest string) error {
	made := Made{Type: kind, Path: path, Digest: digest}
	err := filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			made.Size += info.Size()
		}
		return err
	})
	w.made = append(w.made, made)
	return err
}
