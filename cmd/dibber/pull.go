//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
)

// pullOptions are the flags of dibber pull.
type pullOptions struct {
	registryFlags
	name, platform   string
	progress, result string
}

func (a *app) pullCommand() *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull [flags] REF",
		Short: "Get an image or a disk from a registry",
		Example: `  dibber pull registry.example.org/team/debian-disk:12              # debian.qcow2, as it was pushed
  dibber pull -o vm registry.example.org/team/debian-disk:12        # the same as vm.qcow2
  dibber pull --platform linux/arm64 registry.example.org/team/debian:12   # the directory debian.oci`,
		Long: `A disk that was pushed becomes the same file again, byte for byte, under its own name
in this directory or that of -o; an OCI image becomes an image layout, NAME.oci. Artifacts of
others, as of oras push, are files too.

Everything is checked against its digest. A file gets its name when it is whole;
until then it is hidden beside it, and the same command goes on with it.

` + registryHelp,
		Args: exactArgs(1, "one image or disk of a registry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pull(cmd.Context(), &o, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.name, "name", "o", "", "`NAME` of what is made, without extension; may hold a path, and end in / for a directory")
	f.StringVar(&o.platform, "platform", "", "platform, as linux/arm64, where there are several; the machine's by default")
	o.addTo(f)
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: "+progressModes)
	f.StringVar(&o.result, "result", "", "write a description of what was made, as JSON, to this `FILE`")
	return cmd
}

func (o *pullOptions) check(ref string) error {
	if err := errors.Join(o.registryFlags.check(), checkProgress(o.progress)); err != nil {
		return err
	}
	for _, other := range []string{"oci:", "oci-archive:", "docker-archive:", "containers-storage:"} {
		if strings.HasPrefix(ref, other) {
			return &usageError{err: fmt.Errorf("cannot pull %s: it is of no registry", ref), hint: "dibber convert turns images of this machine into others"}
		}
	}
	if o.platform != "" && !strings.HasPrefix(o.platform, "linux/") {
		return &usageError{err: fmt.Errorf("--platform %s is not of linux", o.platform), hint: "write linux/amd64, linux/arm64, ..."}
	}
	for flag, path := range map[string]string{"-o": o.name, "--result": o.result} {
		if path != "" {
			if err := checkFolder(flag+" "+path, path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) pull(ctx context.Context, o *pullOptions, ref string) error {
	if err := o.check(ref); err != nil {
		return err
	}
	p, err := findPlaces()
	if err != nil {
		return err
	}
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return err
	}
	made, err := o.run(ctx, s, p, ref)
	s.end()
	if err != nil {
		return err
	}
	return a.results(&build.Result{Outputs: made}, o.progress, o.result)
}

func (o *pullOptions) run(ctx context.Context, s *story, p places, ref string) ([]output.Made, error) {
	step := "asking for " + ref
	end := s.step(step)
	how := o.options(s, step)
	how.Architecture, how.Cache = strings.TrimPrefix(o.platform, "linux/"), filepath.Join(p.cache, "images")
	found, err := oci.Find(ctx, ref, how)
	if err != nil {
		return nil, err
	}
	end()
	if found.Artifact != nil {
		return o.pullFiles(ctx, s, found)
	}
	made, err := o.pullImage(ctx, s, found, how.Cache)
	return []output.Made{made}, err
}

// path gives the absolute path of an output.
func (o *pullOptions) path(own, ext string) (string, error) {
	name := o.name
	switch {
	case name == "" || strings.HasSuffix(name, "/"):
		name += own + ext
	case !strings.HasSuffix(name, ext):
		name += ext
	}
	return filepath.Abs(name)
}

// pullImage makes an image layout.
func (o *pullOptions) pullImage(ctx context.Context, s *story, found *oci.Found, cache string) (output.Made, error) {
	made := output.Made{Type: "oci", Digest: found.Digest, Ref: found.Ref}
	path, err := o.path(layoutName(found.Ref), output.Extension("oci"))
	if err != nil {
		return made, err
	}
	made.Path = path
	dir, err := artifact.CreateDir(path, "oci-layout")
	if err != nil {
		return made, err
	}
	defer dir.Discard()
	step := "pulling " + found.Ref
	end := s.step(step)
	if err := found.Image.Fetch(ctx, cache, s.progress(step)); err != nil {
		return made, err
	}
	if err := found.Image.Image().WriteLayout(ctx, dir.Temp(), "latest"); err != nil {
		return made, err
	}
	if err := dir.Commit(); err != nil {
		return made, err
	}
	end()
	for _, l := range found.Image.Layers() {
		made.Size += l.Size
	}
	return made, nil
}

// pullFiles makes an artifact's files. Of several -o gives the directory or the
// beginning of their names.
func (o *pullOptions) pullFiles(ctx context.Context, s *story, found *oci.Found) ([]output.Made, error) {
	var list []output.Made
	files := found.Artifact.Files()
	if o.name != "" && !strings.HasSuffix(o.name, "/") && len(files) > 1 {
		return nil, &usageError{err: fmt.Errorf("-o %s names one file, and %s holds %d", o.name, found.Ref, len(files)), hint: "write -o DIRECTORY/"}
	}
	for i, f := range files {
		ext := titleExtension(f.Title)
		path, err := o.path(strings.TrimSuffix(f.Title, ext), ext)
		if err != nil {
			return list, err
		}
		step := "pulling " + filepath.Base(path)
		end := s.step(step)
		if err := found.Artifact.Fetch(ctx, i, path, s.progress(step)); err != nil {
			return list, err
		}
		end()
		kind := strings.TrimPrefix(ext, ".")
		if !output.IsDisk(kind) {
			kind = "file"
		}
		list = append(list, output.Made{Type: kind, Path: path, Size: f.Size, Digest: found.Digest, Ref: found.Ref})
	}
	return list, nil
}

// titleExtension gives the ending of a file's name: that of a format, else what is
// behind the last dot.
func titleExtension(title string) string {
	if kind := diskKind(title, ""); kind != "" && strings.HasSuffix(title, format.Extension(kind)) {
		return format.Extension(kind)
	}
	return filepath.Ext(title)
}

// writeResult writes the description that --result asks for.
func writeResult(file string, r *build.Result) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(file, append(text, '\n'))
}
