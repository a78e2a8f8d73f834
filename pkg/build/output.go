//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// extensions gives the ending of each type's file or directory.
func extensions() map[string]string {
	ext := map[string]string{
		"tar":            ".tar",
		"oci":            ".oci", // a directory, an OCI image layout
		"oci-archive":    ".oci.tar",
		"docker-archive": ".docker.tar",
	}
	for _, name := range format.Known() {
		ext[name] = "." + name
	}
	return ext
}

// Types lists the outputs that a build can make.
func Types() []string {
	var names []string
	for name := range extensions() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// IsDisk tells whether an output type is a disk image.
func IsDisk(name string) bool { return slices.Contains(format.Known(), name) }

// outputs writes what is wanted of a finished root file system.
type outputs struct {
	*rootfs
	base  *base
	umask int // for outputs
	made  []Output
}

// tryPlaces begins every output and discards it, so that a name that cannot be
// had is known before the work and not after it.
func (o *outputs) tryPlaces() error {
	for _, kind := range o.job.Types {
		suffixes := []string{""}
		if IsDisk(kind) {
			suffixes = nil
			for _, image := range o.plan.Images {
				suffixes = append(suffixes, diskSuffix(image))
			}
		}
		for _, suffix := range suffixes {
			if err := tryPlace(kind, o.path(kind, suffix)); err != nil {
				return fmt.Errorf("cannot write the %s output: %w", kind, err)
			}
		}
	}
	return nil
}

func tryPlace(kind, path string) error {
	if kind == "oci" {
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

// write makes every wanted output.
func (o *outputs) write(ctx context.Context) error {
	t, err := tree.OpenDir(o.root.Root(), tree.DirOptions{})
	if err != nil {
		return fmt.Errorf("reading the finished root file system: %w", err)
	}
	defer t.Close()
	var image *oci.Image
	var disks []diskView
	for _, kind := range o.job.Types {
		switch {
		case IsDisk(kind):
			if disks == nil {
				if disks, err = o.disks(t); err != nil {
					return err
				}
			}
			err = o.writeDisks(ctx, kind, disks)
		case kind == "tar":
			err = o.writeFile(ctx, kind, "", func(f *artifact.File) error { return writeTar(until{ctx, f}, t) })
		default:
			if image == nil {
				if image, err = o.image(ctx, t); err != nil {
					return err
				}
			}
			err = o.writeImage(ctx, kind, image)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("cannot write the %s output: %w", kind, err)
		}
	}
	return nil
}

// until is a writer that refuses once ctx has ended.
type until struct {
	ctx context.Context
	io.Writer
}

func (u until) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Writer.Write(p)
}

// writeTar writes the tree as diskimage-builder's tar output: entries begin with
// "./", sys and proc are absent.
func writeTar(w io.Writer, t *tree.Tree) error {
	return tarfile.Write(w, t, tarfile.Options{Prefix: "./", Exclude: []string{"/sys", "/proc"}})
}

// name is an output's path as the user began it; suffix tells several disks apart.
func (o *outputs) name(kind, suffix string) string {
	return o.job.Name + suffix + extensions()[kind]
}

// path is an output's absolute path.
func (o *outputs) path(kind, suffix string) string {
	if name := o.name(kind, suffix); filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.job.Dir, o.name(kind, suffix))
}

// writeFile makes one output file, whole or not at all.
func (o *outputs) writeFile(ctx context.Context, kind, suffix string, fill func(*artifact.File) error) error {
	path := o.path(kind, suffix)
	step := "writing " + filepath.Base(path)
	begun := o.job.Now()
	o.tell(Event{Kind: StepStarted, Step: step})
	f, err := artifact.Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := fill(f); err != nil {
		return err
	}
	if err := o.makeRoom(path); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if len(o.job.Checksums) > 0 {
		if err := artifact.Checksums(ctx, o.name(kind, suffix), o.job.Checksums); err != nil {
			return err
		}
	}
	o.tell(Event{Kind: StepEnded, Step: step, Took: o.job.Now().Sub(begun)})
	return o.record(kind, path, "")
}

// makeRoom puts an older output aside where diskimage-builder would. An output
// that is replaced loses its checksums first, which are not those of the new one.
func (o *outputs) makeRoom(path string) error {
	if o.job.KeepOld {
		_, err := artifact.Preserve(path, o.job.Time)
		return err
	}
	var errs []error
	for _, kind := range artifact.Kinds() {
		errs = append(errs, ignoreMissing(os.Remove(path+"."+string(kind))))
	}
	return errors.Join(errs...)
}

// record notes an output with the space it takes.
func (o *outputs) record(kind, path, digest string) error {
	out := Output{Type: kind, Path: path, Digest: digest}
	err := filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out.Size += info.Size()
		}
		return err
	})
	o.made = append(o.made, out)
	return err
}

// writeDisks writes every disk of the plan in one format.
func (o *outputs) writeDisks(ctx context.Context, kind string, disks []diskView) error {
	for _, d := range disks {
		err := o.writeFile(ctx, kind, d.suffix, func(f *artifact.File) error {
			return o.writeDisk(ctx, kind, f, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *outputs) writeDisk(ctx context.Context, kind string, f *artifact.File, d diskView) error {
	step := "writing " + filepath.Base(o.path(kind, d.suffix))
	options := o.job.formatOptions()
	options.Progress = func(done, total int64) {
		o.tell(Event{Kind: Progress, Step: step, Done: done, Total: total})
	}
	return format.Write(ctx, kind, f, d.bytes, options)
}

func (j *Job) formatOptions() format.Options {
	options := format.Options{Settings: j.QemuImgOptions}
	if j.Uncompressed {
		options.Compression = format.None
	}
	return options
}

// unknownType answers a -t that names nothing.
func unknownType(name string) error {
	return &TypeError{Type: name, Known: Types()}
}

// TypeError says that an output type is not known.
type TypeError struct {
	Type  string
	Known []string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("unknown output type %q: dibber writes %s", e.Type, strings.Join(e.Known, ", "))
}
