//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/definition"
)

func (a *app) buildCommand() *cobra.Command {
	var o options
	var files definitionFlags
	cmd := &cobra.Command{
		Use:   "build [flags] ELEMENT...\n  dibber build [--dry-run] [--stop-on-failure] FILE.yaml...",
		Short: "Build images from elements, or those that a YAML file defines",
		Example: `  A Debian machine with a user of yours, as a qcow2 and as an OCI image:
    dibber build -o debian -t qcow2,oci debian-minimal vm devuser openssh-server growroot

  On top of an image from a registry, no kernel and no disk:
    dibber build --from debian:bookworm -t oci -o tools -p git,make openssh-server

  With elements of your own, which win over the built-in ones:
    ELEMENTS_PATH=$PWD/elements dibber build -o ours -t raw debian-minimal vm ours

  An image and a disk for a registry, and a disk for KubeVirt:
    dibber build -o debian -t oci,qcow2 --push registry.example.org/debian:12 debian-minimal vm
    dibber build -o debian -t containerdisk --push registry.example.org/debian-vm:12 debian-minimal vm

  All images that a file defines, as diskimage-builder does:
    dibber build images.yaml`,
		Long: `Build runs the hooks of the elements, phase by phase, in a working container,
and writes the finished root file system in every form of -t:

  qcow2, raw       a disk that boots under BIOS and UEFI (element vm)
  vmdk, vdi, vhdx  the same for VMware, VirtualBox and Hyper-V
  vhd, vpc         for Azure and Xen: NAME.vhd, or NAME.vpc as qemu-img calls it
  raw.gz, raw.zst  a raw disk, compressed
  oci              an OCI image layout, a directory NAME.oci
  oci-archive      the same as one file, NAME.oci.tar
  docker-archive   for docker load and podman load, NAME.docker.tar
  docker           loaded into docker, or else podman, under the name of --docker-target
  tar, tgz         the files, NAME.tar, NAME.tgz
  squashfs         the files, NAME.squash
  aci              an App Container Image, with the manifest that ACI_MANIFEST names
  containerdisk    an OCI image with the disk in it for KubeVirt, a directory NAME.containerdisk

` + pushHelp + `

A FILE.yaml, or .yml, is a list of images, each with imagename, elements, types and
so on; --schema prints what is allowed. Each image is built by a command of its own,
which is shown first. Those that fail do not keep the others from being built.

Paths of what was made go to stdout, everything else to stderr.
Exit status: 0 done, 1 the build failed, 2 wrong usage, 3 this machine cannot
build (see dibber doctor), 130 interrupted.

` + registryHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if files.schema {
				_, err := a.stdout.Write(definition.Schema())
				return err
			}
			are, err := files.wanted(cmd.Flags(), args)
			switch {
			case err != nil:
				return err
			case are:
				return a.buildFiles(cmd.Context(), cmd.Flags(), &files, args)
			}
			return a.buildElements(cmd.Context(), &o, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.addTo(f)
	o.addOwnTo(f)
	f.BoolVar(&o.squash, "squash", false, "one layer in OCI images, the base's included")
	f.BoolVar(&o.gzip, "gzip", false, "gzip layers instead of zstd, for old consumers")
	o.push.addTo(f)
	files.addTo(f)
	return cmd
}

// addOwnTo defines the flags by which dibber is told what diskimage-builder does
// not ask.
func (o *options) addOwnTo(f *pflag.FlagSet) {
	f.StringVar(&o.from, "from", "", "start from this `IMAGE`: a registry's, docker://, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE")
	f.BoolVar(&o.keepOnFailure, "keep-on-failure", true, "keep the container of a failed build for dibber shell")
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: "+progressModes)
	f.BoolVar(&o.pypiCache, "pypi-cache", false, "keep what hooks install from PyPI in the mirror of the element pypi, for later builds with --offline")
	f.StringVar(&o.result, "result", "", "write a description of what was made, as JSON, to this `FILE`")
}

func (a *app) buildElements(ctx context.Context, o *options, args []string) error {
	o.clearEnvironment()
	if err := o.check(); err != nil {
		return err
	}
	forget, err := a.preparePush(ctx, o)
	if err != nil {
		return err
	}
	defer forget()
	return o.inNamespaces(ctx, a,
		func() error { return a.build(ctx, o, args) },
		func() error { return a.deliver(ctx, o) },
		func() error { return a.pushBuilt(ctx, o) },
	)
}

// inNamespaces runs what needs containers as root of namespaces of its own, and
// then what must be done outside of them.
func (a *app) inNamespaces(work func() error, then ...func() error) error {
	return a.entering(container.Enter, work, then...)
}

// entering is inNamespaces with the way in.
func (a *app) entering(enter func() (inside bool, status int, err error), work func() error, then ...func() error) error {
	inside, status, err := enter()
	switch {
	case err != nil:
		return err
	case inside:
		return work()
	case status != 0:
		return statusError(status)
	}
	for _, step := range then {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) build(ctx context.Context, o *options, args []string) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	job, err := o.job(args, p, true)
	if err != nil {
		return err
	}
	logPath := o.logfile
	if logPath == "" {
		logPath = filepath.Join(p.state, "logs", fmt.Sprintf("%s-%s-%s.log", filepath.Base(job.Name), job.Time.UTC().Format("20060102-150405"), job.ID))
	}
	log, err := openLog(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	job.Log = log
	endCache, err := a.pypiCache(ctx, o, &job)
	if err != nil {
		return err
	}
	defer endCache()
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return err
	}
	result, err := build.Run(ctx, job, s.tell)
	s.end()
	if err != nil {
		return a.failure(ctx, err, logPath)
	}
	if err := noteOutputs(result); err != nil {
		return err
	}
	return a.results(o.hideEngine(result), o.progress, o.result)
}

// failure completes a build's error with where its log is.
func (a *app) failure(ctx context.Context, err error, logPath string) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	var failed *build.FailedError
	if errors.As(err, &failed) {
		failed.Log = logPath
	}
	return err
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot write the log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot write the log: %w", err)
	}
	return f, nil
}
