//go:build containers_image_openpgp

package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/tree"
)

// pushOptions are the flags of dibber push.
type pushOptions struct {
	registryFlags
	archs            []string
	index            bool
	progress, result string
}

func (a *app) pushCommand() *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push [flags] PATH... REF",
		Short: "Put images and disks into a registry",
		Example: `  An OCI image, a disk for KubeVirt, a disk as an OCI artifact:
    dibber push debian.oci registry.example.org/team/debian:12
    dibber push debian.containerdisk registry.example.org/team/debian-vm:12
    dibber push debian.qcow2 registry.example.org/team/debian-disk:12

  One name for two architectures:
    dibber push debian-amd64.oci debian-arm64.oci registry.example.org/team/debian:12
    dibber push -a amd64,arm64 amd64.qcow2 arm64.qcow2 registry.example.org/team/disk:12`,
		Long: `PATH is an image layout (a directory), oci:DIR[:TAG], oci-archive:FILE,
docker-archive:FILE, an archive whose name ends in .oci.tar or .docker.tar, or a disk
image; disk:FILE is taken for a raw disk whatever its name. Several become an index:
one name, of which everybody gets what is for his architecture. A disk's own
programs tell its architecture, or -a does.

What the registry has already is not sent, what is interrupted goes on where it was
if the registry can do that, and the name is given last.

` + registryHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return &usageError{err: fmt.Errorf("%s takes what to push and where", cmd.CommandPath()), hint: cmd.CommandPath() + " --help shows examples"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.push(cmd.Context(), &o, args[:len(args)-1], args[len(args)-1])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVarP(&o.archs, "arch", "a", nil, "architecture of the disks, or of each, separated by commas")
	f.BoolVar(&o.index, "index", false, "make an index of a single image too")
	o.addTo(f)
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: "+progressModes)
	f.StringVar(&o.result, "result", "", "write a description of what was pushed, as JSON, to this `FILE`")
	return cmd
}

func (o *pushOptions) check(paths []string, ref string) error {
	if err := errors.Join(o.registryFlags.check(), checkProgress(o.progress)); err != nil {
		return err
	}
	if err := oci.CheckPushName(ref); err != nil {
		return &usageError{err: fmt.Errorf("cannot push to %s: %w", ref, err), hint: "the last word is REGISTRY/REPOSITORY:TAG"}
	}
	if len(o.archs) > 1 && len(o.archs) != len(paths) {
		return &usageError{err: fmt.Errorf("-a names %d architectures for %d images", len(o.archs), len(paths)), hint: "name one for all, or one for each"}
	}
	if o.result != "" {
		return checkFolder("--result "+o.result, o.result)
	}
	return nil
}

// arch is the architecture of a path, "" if the user does not say.
func (o *pushOptions) arch(i int) string {
	switch len(o.archs) {
	case 0:
		return ""
	case 1:
		i = 0
	}
	return o.archs[i]
}

func (a *app) push(ctx context.Context, o *pushOptions, paths []string, ref string) error {
	if err := o.check(paths, ref); err != nil {
		return err
	}
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return err
	}
	made, err := o.run(ctx, s, paths, oci.PushName(ref))
	s.end()
	if err != nil {
		return err
	}
	if o.result != "" {
		if err := writeResult(o.result, &build.Result{Outputs: []output.Made{made}}); err != nil {
			return err
		}
	}
	return a.tellPushed([]output.Made{made}, o.progress)
}

func (o *pushOptions) run(ctx context.Context, s *story, paths []string, ref string) (output.Made, error) {
	made := output.Made{Type: "index", Ref: ref}
	var parts []oci.Content
	for i, path := range paths {
		part, kind, err := openContent(ctx, s, path, o.arch(i))
		if err != nil {
			return made, err
		}
		parts = append(parts, part)
		if len(paths) == 1 && !o.index {
			made.Type, made.Path = kind, path
		}
	}
	content := parts[0]
	if len(parts) > 1 || o.index {
		x, err := oci.NewIndex(parts)
		if err != nil {
			return made, &usageError{err: err, hint: "an index takes one image or disk for each architecture; -a tells that of disks"}
		}
		content = x
	}
	var err error
	made.Digest, err = pushContent(ctx, s, &o.registryFlags, ref, content)
	return made, err
}

// openContent opens what the user wants to push, and tells its type.
func openContent(ctx context.Context, s *story, path, arch string) (oci.Content, string, error) {
	transport, file, _ := strings.Cut(path, ":")
	info, err := os.Stat(path)
	switch {
	case slices.Contains([]string{"oci", "oci-archive", "docker-archive"}, transport) && err != nil:
		image, err := oci.Open(path)
		return image, transport, err
	case transport == "disk" && err != nil:
		artifact, err := diskArtifact(ctx, s, []string{file}, diskKind(file, format.Raw), arch)
		return artifact, format.Raw, err
	case err != nil:
		return nil, "", &usageError{err: fmt.Errorf("cannot push %s: %w", path, errors.Unwrap(err)), hint: "the last word is where to push to, those before it are files and directories"}
	case info.IsDir():
		image, err := oci.Open("oci:" + path)
		return image, "oci", err
	}
	for _, kind := range []string{"oci-archive", "docker-archive"} {
		if strings.HasSuffix(path, output.Extension(kind)) {
			image, err := oci.Open(kind + ":" + path)
			return image, kind, err
		}
	}
	kind := diskKind(path, "")
	if kind == "" {
		return nil, "", &usageError{err: fmt.Errorf("cannot push %s: it is neither an image nor a disk by its name", path), hint: "write oci-archive:, docker-archive: or disk: before it"}
	}
	artifact, err := diskArtifact(ctx, s, []string{path}, kind, arch)
	return artifact, kind, err
}

// diskKind gives the format of a disk image by its name, or usual.
func diskKind(path, usual string) string {
	best := usual
	length := 0
	for _, kind := range append(format.Known(), "vpc") {
		if ext := "." + kind; strings.HasSuffix(path, ext) && len(ext) > length {
			best, length = format.Canonical(kind), len(ext)
		}
	}
	if length == 0 && strings.HasSuffix(path, ".img") {
		return format.Raw
	}
	return best
}

// seen is what a disk image tells of itself.
type seen struct {
	size int64
	arch string
}

// lookAt reads what can be read of a disk without unpacking it; what cannot is left
// open.
func lookAt(path string) seen {
	image, err := inspect.Open(path, inspect.Options{Limit: 1})
	if err != nil {
		return seen{}
	}
	defer image.Close()
	s := seen{size: image.Disk().Size()}
	for _, program := range []string{"/bin/sh", "/sbin/init", "/usr/bin/env"} {
		source, place, err := image.Find(program)
		if err == nil {
			place, err = tree.Resolve(source, place.Path)
		}
		if err != nil || place.Inode.Type() != tree.TypeRegular || place.Inode.Content == nil {
			continue
		}
		f, err := elf.NewFile(io.NewSectionReader(place.Inode.Content, 0, place.Inode.Size))
		if err == nil {
			s.arch = elfArch(f)
			return s
		}
	}
	return s
}

// elfArch names the architecture of a program as OCI does; "" is unknown.
func elfArch(f *elf.File) string {
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_386:
		return "386"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_PPC64:
		return "ppc64le"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_RISCV:
		return "riscv64"
	}
	return ""
}

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// step tells that a step has begun and gives a function that tells its end.
func (s *story) step(step string) (end func()) {
	begun := time.Now()
	s.tell(build.Event{Kind: build.StepStarted, Step: step})
	return func() { s.tell(build.Event{Kind: build.StepEnded, Step: step, Took: time.Since(begun)}) }
}

// layoutName makes a directory's name of the last part of a reference's repository.
func layoutName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	base := filepath.Base(ref)
	name, _, _ := strings.Cut(base, ":")
	return name
}
