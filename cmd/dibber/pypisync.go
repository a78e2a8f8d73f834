//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/pypi"
	"github.com/dibber-project/dibber/pkg/pypi/requirement"
)

// hostArch is this processor as Go calls it.
const hostArch = runtime.GOARCH

// pypiSyncOptions are the flags of dibber pypi sync.
type pypiSyncOptions struct {
	pypiPlace
	files, constraints  []string
	pythons, platforms  []string
	onlyBinary          string
	noBinary            string
	noDeps, hashes, pre bool
	all, quiet          bool
}

func (a *app) pypiSyncCommand() *cobra.Command {
	var o pypiSyncOptions
	cmd := &cobra.Command{
		Use:   "sync [flags] [-r FILE]... [REQUIREMENT]...",
		Short: "Fill the mirror with what requirements ask for",
		Example: `  dibber pypi sync -r requirements.txt
  dibber pypi sync flask 'requests>=2.31'
  dibber pypi sync --python 3.13 --platform manylinux_2_41_aarch64 numpy
  dibber pypi sync --upstream ./wheels --mirror ./mirror --all`,
		Long: `Sync chooses for every Python and platform the newest versions that all requirements,
and those of what they depend on, can take, and fetches them. An archive of sources is
taken where no wheel fits, with what its pyproject.toml needs to be built. Requirements
with a --hash are held to it. What is there and right is not fetched again.

A requirements file is pip's: names, versions, extras, markers, --hash, -r, -c, --index-url,
--extra-index-url, --no-index, --find-links DIR, --pre, --only-binary, --no-binary,
--require-hashes.`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.pypiSync(cmd.Context(), &o, args) },
	}
	f := cmd.Flags()
	o.addTo(f, "index (`URL`) or directory to fetch from ("+officialIndex+", or what a requirements file names)")
	f.StringArrayVarP(&o.files, "requirement", "r", nil, "requirements `FILE`")
	f.StringArrayVarP(&o.constraints, "constraint", "c", nil, "constraints `FILE`")
	f.StringSliceVar(&o.pythons, "python", nil, "`VERSION` of Python that files are for, as 3.11 or 3.11.2 (3.11 and 3.13)")
	f.StringSliceVar(&o.platforms, "platform", nil, "`PLATFORM` that they are for (manylinux_2_36 of this processor)")
	f.BoolVar(&o.noDeps, "no-deps", false, "nothing but what is named")
	f.BoolVar(&o.pre, "pre", false, "versions before a release, too")
	f.StringVar(&o.onlyBinary, "only-binary", "", "no archive of sources of these `NAMES`, or :all:")
	f.StringVar(&o.noBinary, "no-binary", "", "no wheel of these `NAMES`, or :all:")
	f.BoolVar(&o.all, "all", false, "all that the directories have that --upstream names, as without a requirement")
	f.BoolVar(&o.hashes, "require-hashes", false, "refuse what has no --hash")
	f.BoolVar(&o.quiet, "quiet", false, "do not tell what is fetched")
	return cmd
}

// asked reads all requirements.
func (o *pypiSyncOptions) asked(args []string) (requirement.File, error) {
	file := requirement.File{
		Prereleases: o.pre, RequireHashes: o.hashes, Env: os.Getenv,
		OnlyBinary: requirement.Formats(nil, o.onlyBinary), NoBinary: requirement.Formats(nil, o.noBinary),
	}
	for _, path := range o.files {
		if err := file.ReadFile(path); err != nil {
			return file, &usageError{err: err}
		}
	}
	for _, path := range o.constraints {
		if err := file.ReadConstraints(path); err != nil {
			return file, &usageError{err: err}
		}
	}
	for _, arg := range args {
		req, err := requirement.Parse(arg)
		if err != nil {
			return file, &usageError{err: err, hint: "a requirement is a name, as flask, and may go on as in 'flask[async]>=3,<4'"}
		}
		file.Lines = append(file.Lines, requirement.Line{Requirement: req, From: "the command line"})
	}
	return file, nil
}

// indexes lists where files come from: what the command line names, else the
// requirements.
func (o *pypiSyncOptions) indexes(file requirement.File) []string {
	out := o.upstreams
	if out == nil && !file.NoIndex {
		out = append([]string{first(file.Index, officialIndex)}, file.Extra...)
	}
	return append(out, file.FindLinks...)
}

func (a *app) pypiSync(ctx context.Context, o *pypiSyncOptions, args []string) error {
	file, err := o.asked(args)
	if err != nil {
		return err
	}
	all := len(file.Lines) == 0
	switch {
	case all && (o.upstreams == nil || o.files != nil):
		return &usageError{err: errors.New("nothing is asked for"), hint: "name packages, or -r requirements.txt; --upstream DIRECTORY --all takes all of it"}
	case o.all && !all:
		return &usageError{err: errors.New("--all takes what is there, and no requirement"), hint: "leave one of them out"}
	}
	forWhom, err := targets(o.pythons, o.platforms)
	if err != nil {
		return err
	}
	sources, err := o.sources(o.indexes(file))
	if err != nil {
		return err
	}
	m, err := o.open()
	if err != nil {
		return err
	}
	defer m.Close()
	tell := func(line string) { fmt.Fprintln(a.stderr, printable(line)) }
	if o.quiet {
		tell = nil
	}
	done, err := pypi.Sync(ctx, pypi.SyncOptions{
		Mirror: m, Sources: sources, File: file, All: all, Targets: forWhom, NoDeps: o.noDeps, MaxFile: o.maxFile, Log: tell,
	})
	if err != nil {
		return fmt.Errorf("cannot fill the mirror %s: %w", m.Dir(), err)
	}
	fmt.Fprintf(a.stderr, "%s: %d files fetched (%s), %d were there\n", m.Dir(), done.Fetched, size(done.Bytes), done.Kept)
	return nil
}
