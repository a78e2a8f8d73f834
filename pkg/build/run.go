//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/tree"
)

// FailedError says that a hook failed, and where to look.
type FailedError struct {
	Hook *hook.FailedError
	Kept string // names the kept container for Shell; "" when none is
	Log  string // set by who knows it

	// Sealed tells that it wrote, or seems to have, where only UnsafeHost lets
	// hooks write.
	Sealed bool

	err error // what it was run for, and Hook
}

func (e *FailedError) Error() string { return e.err.Error() }
func (e *FailedError) Unwrap() error { return e.err }

// Tail is the last that the hook printed.
func (e *FailedError) Tail() []string { return e.Hook.Tail }

// Run builds what the job asks for. It must be called in the namespaces of
// container.Enter. Whatever happens, no output is there in part; a failed hook's
// container is kept if the job wants that.
func Run(ctx context.Context, job Job, observe func(Event)) (*Result, error) {
	result, err := run(ctx, job, observe)
	return result, job.explainFull(err, nil)
}

func run(ctx context.Context, job Job, observe func(Event)) (*Result, error) {
	begun := job.Now()
	if err := errors.Join(output.CheckTypes(job.Types), checkFormats(&job)); err != nil {
		return nil, err
	}
	if err := job.enableArch(ctx, observe); err != nil {
		return nil, err
	}
	base, err := findBase(ctx, &job, observe)
	if err != nil {
		return nil, err
	}
	set, err := resolve(&job, base)
	if err != nil {
		return nil, err
	}
	for _, w := range set.Warnings {
		job.tell(observe, Event{Kind: Warning, Message: w})
	}
	job.tell(observe, Event{Kind: Note, Message: "Expanded element dependencies to: " + set.ImageElement()})
	config, plan, err := readPlan(&job, set)
	if err != nil {
		return nil, err
	}
	for _, warning := range plan.Warnings {
		job.tell(observe, Event{Kind: Warning, Message: warning})
	}
	o := &outputs{base: base, config: config, begun: begun}
	o.rootfs = &rootfs{job: &job, set: set, plan: plan, observe: observe}
	if err := o.writer().TryPlaces(job.Types, o.diskNames()); err != nil {
		return nil, err
	}
	caller := unix.Umask(usualUmask)
	defer unix.Umask(caller)
	w, err := openWorkspace(&job)
	if err != nil {
		return nil, err
	}
	job.tell(observe, Event{Kind: Note, Message: "Building in " + w.build})
	if refused := w.store.Refused(); refused != nil {
		job.tell(observe, Event{Kind: Warning, Message: fmt.Sprintf("containers are plain copies, which is slow and takes room: %s takes no overlay (%v); dibber doctor says more", w.store.Dir(), refused)})
	}
	o.w, o.umask = w, caller
	err = o.run(ctx)
	if err = o.finish(err); err != nil {
		return nil, err
	}
	return &Result{Outputs: o.made, Base: base.record(), Elements: set.Names(), Took: job.Now().Sub(begun)}, nil
}

// usualUmask is for what hooks make, whatever the caller's is: the same build
// gives the same modes. Outputs are made with the caller's.
const usualUmask = 0o022

// run makes the root file system and writes what is wanted of it.
func (o *outputs) run(ctx context.Context) error {
	o.w.sweep()
	var err error
	if o.env, err = environment(o.job, o.set, o.plan, o.w); err != nil {
		return err
	}
	if err := o.describeDisk(); err != nil {
		return err
	}
	if o.bounds, err = newBounds(o.job, o.env, o.w); err != nil {
		return err
	}
	if o.root, err = o.w.place.New(ctx, o.base.container()); err != nil {
		return err
	}
	if err := o.make(ctx); err != nil {
		return err
	}
	unix.Umask(o.umask)
	return o.write(ctx)
}

// finish gives back what the build holds, or keeps it for a look inside.
func (o *outputs) finish(err error) error {
	err = o.job.explainFull(err, o.w)
	var failed *hook.FailedError
	if errors.As(err, &failed) {
		report := &FailedError{Hook: failed, Sealed: o.bounds.hit(failed), err: err}
		err = report
		if o.job.KeepOnFailure {
			keepErr := o.keep()
			if keepErr == nil {
				report.Kept = o.job.ID
				o.awaitSweep()
				return errors.Join(err, o.w.store.Close())
			}
			if !isFull(err) || !isFull(keepErr) { // that is told already
				err = errors.Join(err, keepErr)
			}
		}
	}
	if o.root != nil {
		// The store writes when it removes: there must be room for that.
		err = errors.Join(err, o.w.clear(), o.root.Remove())
	}
	o.awaitSweep()
	return errors.Join(err, o.w.close())
}

// awaitSweep waits for the end of sweeping. Failing at it is no failure of this
// build.
func (o *outputs) awaitSweep() {
	if err := o.w.awaitSweep(); err != nil {
		o.tell(Event{Kind: Warning, Message: "what an earlier build left behind stays there: " + err.Error()})
	}
}

func checkFormats(job *Job) error {
	for _, name := range job.Types {
		if !output.IsDisk(name) || name == format.VHD && len(job.Types) > 1 {
			continue // beside others, a vhd goes without what it does not know
		}
		if err := format.Check(output.DiskFormat(name), job.formatOptions()); err != nil {
			return err
		}
	}
	return nil
}

// base is the image that a build starts from; nil means from nothing.
type base struct {
	Base
	image  *oci.Base
	layout string // the image layout that it was fetched into
	root   *tree.Inode
	os     map[string]string
}

func (b *base) record() *Base {
	if b == nil {
		return nil
	}
	return &b.Base
}

func (b *base) ociBase() *oci.Base {
	if b == nil {
		return nil
	}
	return b.image
}

// container is the base as a working container starts from it.
func (b *base) container() container.Base {
	if b == nil {
		return container.Base{}
	}
	return container.Base{
		Image: b.image.Transport(b.layout),
		Mode:  b.root.Mode &^ tree.TypeMask, UID: int(b.root.UID), GID: int(b.root.GID),
	}
}

// findBase fetches the base image, if the job or one of its elements names one.
func findBase(ctx context.Context, job *Job, observe func(Event)) (*base, error) {
	ref := job.From
	if ref == "" {
		var err error
		if ref, err = namedBase(job); ref == "" || err != nil {
			return nil, err
		}
	} else if _, err := resolve(job, &base{}); err != nil {
		return nil, err // before anything is fetched
	}
	begun := job.Now()
	step := "fetching " + ref
	job.tell(observe, Event{Kind: StepStarted, Step: step})
	image, err := oci.Resolve(ctx, ref, oci.ResolveOptions{Architecture: job.Arch, Offline: job.Offline, Insecure: job.Insecure, Cache: filepath.Join(job.CacheDir, "images")})
	if err != nil {
		return nil, err
	}
	b := &base{image: image, layout: filepath.Join(job.CacheDir, "images")}
	b.Base = Base{Name: ref, Ref: image.Ref(), Digest: image.Digest()}
	if err := image.Fetch(ctx, b.layout, func(done, total int64) {
		job.tell(observe, Event{Kind: Progress, Step: step, Done: done, Total: total})
	}); err != nil {
		return nil, err
	}
	if b.os, err = image.OSRelease(); err != nil {
		return nil, err
	}
	if b.root, err = image.Root(ctx); err != nil {
		return nil, err
	}
	job.tell(observe, Event{Kind: StepEnded, Step: step, Took: job.Now().Sub(begun)})
	job.tell(observe, Event{Kind: Note, Message: fmt.Sprintf("base image: %s at %s", b.Ref, b.Digest)})
	return b, nil
}

// namedBase finds the one element of the list, dependencies included, that
// names a base image. A list that has no operating system gets it from there.
func namedBase(job *Job) (string, error) {
	set, err := element.Resolve(job.ElementsPath, job.Elements)
	var missing *element.MissingOSError
	lacking := errors.As(err, &missing)
	if lacking {
		set, err = element.Resolve(job.ElementsPath, append(slices.Clone(job.Elements), "oci-image"))
	}
	if err != nil {
		return "", err
	}
	ref, by := "", ""
	for _, e := range set.Elements {
		named, err := e.BaseImage()
		if err != nil {
			return "", err
		}
		if named == "" {
			continue
		}
		if ref != "" {
			return "", fmt.Errorf("elements %s and %s both name a base image", by, e.Name)
		}
		ref, by = named, e.Name
	}
	if lacking && ref == "" {
		return "", missing
	}
	return ref, nil
}

// resolve closes the list of elements. On a base image the operating system is
// that of the image, and so is the package manager.
func resolve(job *Job, b *base) (*element.Set, error) {
	names := job.Elements
	if b != nil {
		names = append(slices.Clone(names), "oci-image")
		family := strings.Fields(b.os["ID"] + " " + b.os["ID_LIKE"])
		if slices.Contains(family, "debian") {
			names = append(names, "dpkg")
		}
	}
	set, err := element.Resolve(job.ElementsPath, names)
	if err != nil {
		return nil, err
	}
	return set, set.RefusedHooks()
}

// readPlan reads the wanted disk: from the user, else from an element, else the
// default of diskimage-builder.
func readPlan(job *Job, set *element.Set) (layout.Source, *layout.Plan, error) {
	var dirs []layout.ElementDir
	for _, e := range set.Elements {
		dirs = append(dirs, layout.ElementDir{Name: e.Name, Dir: e.Dir})
	}
	found, err := layout.Find(job.BlockDevice, dirs, job.Arch)
	if err != nil {
		return found, nil, err
	}
	plan, err := layout.Read(found.Name, found.Data, layout.Defaults{FSType: job.FSType, RootLabel: job.RootLabel, SectorSize: job.BlockSize})
	if err != nil {
		return found, nil, err
	}
	plan.Identify(job.identity())
	return found, plan, output.CheckPlan(plan)
}
