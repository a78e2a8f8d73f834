//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/hook/shim"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/tree"
)

// rootfs carries one root file system through its phases.
type rootfs struct {
	job     *Job
	set     *element.Set
	plan    *layout.Plan
	env     *environ.Env
	w       *workspace
	root    *container.Container
	bounds  *bounds
	observe func(Event)

	diskSize    int64  // bytes of the main disk, once known
	rootOptions string // of mkfs, for its root file system
}

// make runs every phase in diskimage-builder's order. One thing differs: finalise
// and cleanup run before a disk exists, on the tree that the disk is then made of.
func (r *rootfs) make(ctx context.Context) error {
	if err := r.set.Merge(r.w.hooks); err != nil {
		return err
	}
	if err := hook.Install(r.w.hooks); err != nil {
		return err
	}
	if err := shim.Replace(r.w.hooks); err != nil {
		return err
	}
	if err := r.phase(ctx, "root"); err != nil {
		return err
	}
	if err := r.inTree(checkRoot, lendResolver); err != nil {
		return err
	}
	if err := r.writeInstallType(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		r.phaseFunc("extra-data"), r.phaseFunc("pre-install"), r.phaseFunc("install"),
		r.installPackages, r.phaseFunc("post-install"), r.phaseFunc("post-root"), r.forgetBinds,
		r.breakAtDisk, r.prepareDisk, r.phaseFunc("pre-finalise"), r.phaseFunc("finalise"), r.phaseFunc("cleanup"),
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return r.inTree(r.giveResolverBack, clean)
}

func (r *rootfs) phaseFunc(name string) func(context.Context) error {
	return func(ctx context.Context) error { return r.phase(ctx, name) }
}

// inTree does things to the mounted tree that never follow a link out of it.
func (r *rootfs) inTree(steps ...func(*os.Root) error) error {
	root, err := os.OpenRoot(r.root.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	for _, step := range steps {
		if err := step(root); err != nil {
			return err
		}
	}
	return nil
}

func checkRoot(root *os.Root) error {
	empty, err := isEmpty(root)
	if err == nil && empty {
		err = errors.New("the root phase made no root file system: no element of the list deploys one in root.d")
	}
	return err
}

// phase runs one phase where it belongs.
func (r *rootfs) phase(ctx context.Context, name string) error {
	begun := r.job.Now()
	r.tell(Event{Kind: PhaseStarted, Phase: name})
	run := hook.Runner{Observe: r.hookEvent}
	p := hook.Phase{
		Name:   name,
		Hooks:  hook.Dir{Here: r.w.hooks},
		Events: hook.Dir{Here: r.w.notes},
		Output: r.job.Log,
	}
	if isInside(name) {
		run.Shell = r.inside()
		p.Hooks.There, p.Events.There = insideHooks, insideNotes
		p.Env, p.WorkDir = r.env.Inside(), "/"
	} else {
		run.Shell = r.outside(name)
		p.Env, p.WorkDir = r.env.Outside(name), r.job.Dir
	}
	if err := r.breakAt(ctx, before, name); err != nil {
		return err
	}
	err := run.Run(ctx, p)
	if warnErr := r.tellWarnings(); err == nil {
		err = warnErr
	}
	if err != nil {
		return errors.Join(err, r.breakAfter(ctx, name, err))
	}
	if err := errors.Join(r.breakAt(ctx, after, name), r.bounds.check(name)); err != nil {
		return err
	}
	r.tell(Event{Kind: PhaseEnded, Phase: name, Took: r.job.Now().Sub(begun)})
	return nil
}

// tellWarnings passes on what the commands that stand for others have to say of
// themselves, once.
func (r *rootfs) tellWarnings() error {
	const name = "warnings"
	text, err := r.w.readNotes(name)
	if err != nil || text == "" {
		return err
	}
	var told []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(told, line) {
			r.tell(Event{Kind: Warning, Message: strings.ToValidUTF8(line, "?")})
			told = append(told, line)
		}
	}
	return os.RemoveAll(filepath.Join(r.w.notes, name))
}

func (r *rootfs) inside() insideShell {
	return insideShell{root: r.root, w: r.w, bounds: r.bounds, stdin: r.job.Stdin}
}

func (r *rootfs) outside(phase string) outsideShell {
	return outsideShell{root: r.root, w: r.w, bounds: r.bounds, stdin: r.job.Stdin, kernelDirs: phase != "root"}
}

func isInside(phase string) bool {
	return slices.ContainsFunc(element.Phases(), func(p element.Phase) bool { return p.Name == phase && p.Inside })
}

func (r *rootfs) hookEvent(e hook.Event) {
	kind := HookStarted
	if e.Kind == hook.Ended {
		kind = HookEnded
	}
	r.tell(Event{Kind: kind, Phase: e.Phase, Hook: e.Hook, Status: e.Status, Took: e.Took})
}

func (r *rootfs) tell(e Event) { r.job.tell(r.observe, e) }

func (j *Job) tell(observe func(Event), e Event) {
	e.Time = j.Now()
	if observe != nil {
		observe(e)
	}
}

// writeInstallType lets every later phase see the default install type, as
// diskimage-builder does by a generated file.
func (r *rootfs) writeInstallType() error {
	hooks, err := os.OpenRoot(r.w.hooks)
	if err != nil {
		return err
	}
	defer hooks.Close()
	const name = "environment.d/11-dib-install-type.bash"
	if err := hooks.MkdirAll("environment.d", 0o755); err != nil {
		return err
	}
	if err := ignoreMissing(hooks.Remove(name)); err != nil {
		return err
	}
	return hooks.WriteFile(name, []byte(environ.InstallType(r.job.InstallType)), 0o644)
}

// installPackages installs what -p asks for, between install and post-install.
func (r *rootfs) installPackages(ctx context.Context) error {
	if len(r.job.Packages) == 0 {
		return nil
	}
	begun := r.job.Now()
	step := "installing " + strings.Join(r.job.Packages, " ")
	r.tell(Event{Kind: StepStarted, Step: step})
	run := hook.Runner{Shell: r.inside()}
	p := hook.Phase{Name: "install", Env: r.env.Inside(), WorkDir: "/", Output: r.job.Log}
	if err := run.RunCommand(ctx, p, append([]string{"install-packages"}, r.job.Packages...)...); err != nil {
		return fmt.Errorf("cannot install the packages of -p (%s): %w", strings.Join(r.job.Packages, ","), err)
	}
	r.tell(Event{Kind: StepEnded, Step: step, Took: r.job.Now().Sub(begun)})
	return nil
}

// forgetBinds drops what hooks bound below the target: from here on the tree is
// the image's.
func (r *rootfs) forgetBinds(context.Context) error {
	return os.WriteFile(r.w.journal, nil, 0o644)
}

// prepareDisk gives finalise what it would find on a mounted disk.
func (r *rootfs) prepareDisk(context.Context) error {
	err := r.inTree(
		func(root *os.Root) error { return root.RemoveAll("lost+found") },
		func(root *os.Root) error { return makeMountPoints(root, r.plan.Points()) },
		func(root *os.Root) error { return writeFstab(root, r.plan.Fstab()) },
	)
	if err != nil {
		return err
	}
	if err := r.fixSize(); err != nil {
		return err
	}
	for name, value := range r.plan.BlockDevices() {
		r.env.Set(name, value)
	}
	return nil
}

// fixSize computes the size of the main disk from the content, as
// diskimage-builder does at this point, and the options of its root file system.
func (r *rootfs) fixSize() error {
	t, err := tree.OpenDir(r.root.Root(), tree.DirOptions{})
	if err != nil {
		return fmt.Errorf("measuring the root file system: %w", err)
	}
	usage := layout.Usage{
		Content: t.Usage(), Size: r.job.ImageSize, Extra: r.job.ExtraSize, Journal: r.job.JournalSize,
		RootFSType: r.plan.RootFSType(), EFI: strings.Contains(r.set.ImageElement(), "block-device-efi"),
		MkfsOptions: r.job.MkfsOptions, MaxOnlineResize: r.job.MaxOnlineResize,
	}
	usage.Release, _ = r.env.Get("DIB_RELEASE")
	r.diskSize = layout.ImageSize(usage)
	r.rootOptions = layout.MkfsOptions(usage)
	r.env.Set("DIB_IMAGE_SIZE", strconv.FormatInt(r.diskSize>>10, 10))
	return errors.Join(t.Close(), r.describeSize())
}

func (r *rootfs) giveResolverBack(root *os.Root) error {
	notes, err := r.w.readNotes("chattr.tsv")
	if err != nil {
		return err
	}
	return returnResolver(root, isImmutable(notes))
}
