//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/convert"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/output"
)

// convertOptions are the flags of dibber convert.
type convertOptions struct {
	name, arch        string
	types             []string
	layout, size      string
	fsType, rootLabel string
	loader            string
	append            string
	settings          string
	uncompressed      bool
	checksum          bool
	offline           bool
	noSync            bool
	progress, result  string
	disk              imageFlags // of a source that is a disk image
	push              pushFlags
}

func (a *app) convertCommand() *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use:   "convert [flags] SOURCE",
		Short: "Turn an OCI image, a tar or a directory into disk images",
		Example: `  A disk of an image with a kernel, from a registry or from what dibber build made:
    dibber convert docker://registry.example.org/team/vm:12 -t qcow2 -o vm
    dibber convert oci:debian.oci -t raw,vhdx -o debian

  A file system without boot loader or partition table:
    dibber convert dir:rootfs -t raw --layout none --size 2G -o data

  A disk for KubeVirt, made and pushed:
    dibber convert debian.qcow2 -t containerdisk -o debian --push registry.example.org/debian-vm:12

  A disk image into other formats:
    dibber convert debian.qcow2 -t vmdk,vhd -o debian`,
		Long: `SOURCE is one of

  docker://IMAGE, IMAGE      an image of a registry
  oci:DIR[:TAG]              an OCI image layout
  oci-archive:FILE           the same as one file
  docker-archive:FILE        what docker save writes
  containers-storage:IMAGE   an image of podman or buildah of this user; it is only read
  dir:DIR                    a directory, with the owners that its files have
  tar:FILE                   a tar, perhaps compressed
  disk:FILE, FILE            a disk image: only its format changes

Nothing is mounted and no privilege is needed. An image that dibber built becomes
the disk that its build would have made, byte for byte. Any other gets a boot
loader for the layout: it needs a kernel, and an init as systemd.

Layouts are efi (GPT; BIOS and UEFI), gpt and mbr (BIOS), none (one file system on
the whole disk), or a file with a block device configuration.
` + pushHelp + `
Paths of what was made go to stdout, everything else to stderr.

` + registryHelp,
		Args: exactArgs(1, "one source"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.convertAnywhere(cmd.Context(), &o, args[0])
		},
	}
	o.addTo(cmd)
	return cmd
}

func (o *convertOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.name, "name", "o", "image", "name of the outputs without extension; may hold a path")
	f.StringSliceVarP(&o.types, "type", "t", []string{"qcow2"}, "outputs, separated by commas: "+strings.Join(output.Types(), ", "))
	f.StringVar(&o.layout, "layout", "", "efi, gpt, mbr, none or a file; by default what the image was built for, else efi")
	f.StringVar(&o.size, "size", "", "size of the disk, as 10G or 500MiB; computed by default")
	f.StringVarP(&o.arch, "arch", "a", "", "architecture of the image, where it has several; the machine's by default")
	f.StringVar(&o.fsType, "fs-type", "", "root file system where the layout leaves it open (ext4)")
	f.StringVar(&o.rootLabel, "root-label", "", "label of the root file system (cloudimg-rootfs)")
	f.StringVar(&o.loader, "loader", "", "grub, systemd-boot, uki or none; by default what the image has, else GRUB")
	f.StringVar(&o.append, "append", "", "arguments for the kernel, after the usual ones")
	f.StringVar(&o.settings, "format-options", "", "options of the format, as of qemu-img convert -o")
	f.BoolVarP(&o.uncompressed, "uncompressed", "u", false, "leave outputs uncompressed")
	f.BoolVar(&o.checksum, "checksum", false, "write .md5 and .sha256 files beside the outputs")
	f.BoolVar(&o.offline, "offline", false, "use images from the cache only")
	f.BoolVar(&o.push.insecure, "insecure", false, "the same as --tls-verify=false")
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait until outputs are on the disk, for machines that are thrown away")
	o.push.addTo(f)
	o.disk.addFilesTo(f)
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: "+progressModes)
	f.StringVar(&o.result, "result", "", "write a description of what was made, as JSON, to this file")
}

func (o *convertOptions) check() error {
	if err := checkTypes(o.types); err != nil {
		return err
	}
	if err := checkProgress(o.progress); err != nil {
		return err
	}
	if o.name == "" || strings.HasSuffix(o.name, "/") {
		return &usageError{err: fmt.Errorf("-o %q names no output", o.name), hint: "end it with a name, such as image"}
	}
	known := []bootloader.Loader{bootloader.Auto, bootloader.GRUB, bootloader.SystemdBoot, bootloader.UKI, bootloader.None}
	if !slices.Contains(known, bootloader.Loader(o.loader)) {
		return &usageError{err: fmt.Errorf("--loader %s is not known", o.loader), hint: "choose grub, systemd-boot, uki or none"}
	}
	if _, err := o.bytes(); err != nil {
		return err
	}
	if _, err := o.disk.options(); err != nil {
		return err
	}
	for _, name := range o.types {
		if output.IsDisk(name) {
			if err := format.Check(output.DiskFormat(name), o.formatOptions()); err != nil {
				return &usageError{err: err}
			}
		}
	}
	if err := checkFolder("-o "+o.name, o.name); err != nil || o.result == "" {
		return err
	}
	return checkFolder("--result "+o.result, o.result)
}

// bytes is --size in bytes, 0 when there is none.
func (o *convertOptions) bytes() (int64, error) {
	return sizeFlag("--size", o.size)
}

// sizeFlag reads the size that a flag gives, 0 for none.
func sizeFlag(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := layout.ParseSize(binaryUnit(text))
	if err == nil && n == 0 {
		err = errors.New("it is nothing")
	}
	if err != nil {
		return 0, &usageError{err: fmt.Errorf("%s %s: %w", flag, text, err), hint: "write a number of bytes, or as 10G or 500MiB"}
	}
	return n, nil
}

// binaryUnit lets a lone K, M, G or T count by 1024, as qemu-img and mke2fs do.
func binaryUnit(text string) string {
	if strings.ContainsAny(text[len(text)-1:], "KMGT") {
		return text + "iB"
	}
	return text
}

func (o *convertOptions) formatOptions() format.Options {
	options := format.Options{Settings: o.settings}
	if o.uncompressed {
		options.Compression = format.None
	}
	return options
}

// storagePrefix names the images of podman and buildah.
const storagePrefix = "containers-storage:"

// convertAnywhere enters namespaces for what needs their root: the user's container
// storage, and programs that make file systems of files with owners. A directory has
// the owners that this process sees, so it is never looked at from within.
func (a *app) convertAnywhere(ctx context.Context, o *convertOptions, name string) error {
	work := func() error { return a.convert(ctx, o, name) }
	if strings.HasPrefix(name, storagePrefix) {
		return a.inNamespaces(work)
	}
	err := work()
	switch {
	case !errors.Is(err, maker.ErrOwners):
		return err
	case strings.HasPrefix(name, "dir:"):
		return &usageError{err: err, hint: "run as root, or convert a tar or an OCI image"}
	}
	return a.inNamespaces(work)
}

func (a *app) convert(ctx context.Context, o *convertOptions, name string) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(o.disk.tempDir, "dibber-convert-")
	if err != nil {
		return fmt.Errorf("cannot make a place for temporary files: %w", err)
	}
	defer os.RemoveAll(temp)
	targets, err := o.push.wanted(unique(o.types))
	if err != nil {
		return err
	}
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return err
	}
	job, err := o.job(p, temp, s)
	if err == nil {
		err = o.run(ctx, &job, name, p, temp, s)
	}
	var unpushed error
	if err == nil {
		unpushed = a.pushOutputs(ctx, s, job.made, targets, &o.push.registryFlags, job.Writer.Arch)
	}
	s.end()
	if err == nil {
		err = errors.Join(a.results(&build.Result{Outputs: job.made}, o.progress, o.result), a.tellPushed(job.made, o.progress), unpushed)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// conversion is a job and what came of it.
type conversion struct {
	convert.Job
	made []output.Made
}

func (o *convertOptions) run(ctx context.Context, job *conversion, name string, p places, temp string, s *story) error {
	begun := time.Now()
	const step = "reading the source"
	s.tell(build.Event{Kind: build.StepStarted, Step: step})
	source, err := o.open(ctx, name, convert.OpenOptions{
		Arch: o.arch, Cache: filepath.Join(p.cache, "images"), TempDir: temp, Offline: o.offline, Insecure: o.push.insecure,
		Storage: container.Export,
		Progress: func(done, total int64) {
			s.tell(build.Event{Kind: build.Progress, Step: step, Done: done, Total: total})
		},
	})
	if err != nil {
		return err
	}
	defer source.Close()
	s.tell(build.Event{Kind: build.StepEnded, Step: step, Took: time.Since(begun)})
	job.Source = source
	job.Writer.Arch = o.arch
	if source.Disk == nil {
		job.Writer.Arch = first(o.arch, source.Arch())
	} else if o.arch == "" {
		job.Writer.Arch = lookAt(strings.TrimPrefix(name, "disk:")).arch
	}
	job.made, err = convert.Run(ctx, job.Job)
	return err
}

// open opens the source. A disk image for which other files are named is opened as
// for inspect.
func (o *convertOptions) open(ctx context.Context, name string, how convert.OpenOptions) (*convert.Source, error) {
	options, err := o.disk.options()
	if err != nil {
		return nil, err
	}
	if options.Alone() && options.Limit == 0 {
		return convert.Open(ctx, name, how)
	}
	options.TempDir = how.TempDir
	image, err := inspect.Open(strings.TrimPrefix(name, "disk:"), options)
	if err != nil {
		return nil, err
	}
	return convert.OfDisk(name, image.Disk(), image.Close), nil
}

func (o *convertOptions) job(p places, temp string, s *story) (conversion, error) {
	layouts, err := builtinLayouts(p.builtin)
	if err != nil {
		return conversion{}, err
	}
	wanted, err := o.findLayout(layouts)
	if err != nil {
		return conversion{}, err
	}
	size, err := o.bytes()
	if err != nil {
		return conversion{}, err
	}
	epoch, err := sourceDateEpoch()
	if err != nil {
		return conversion{}, err
	}
	name := o.name
	if len(o.types) == 1 {
		name = strings.TrimSuffix(name, "."+o.types[0])
	}
	writer := &output.Writer{Name: name, Dir: p.cwd, Now: time.Now, Format: o.formatOptions(), NoSync: o.noSync, TempDir: temp,
		Observe: func(e output.Event) { s.tell(build.OutputEvent(e)) }}
	if o.checksum {
		writer.Checksums = artifact.Kinds()
	}
	return conversion{Job: convert.Job{
		Types: unique(o.types), Writer: writer, TempDir: temp, Layout: wanted, Default: layouts["efi"], Size: size,
		FSType: o.fsType, RootLabel: o.rootLabel, Time: epoch, Loader: bootloader.Loader(o.loader), CommandLine: o.append,
		Tell: func(kind convert.Kind, message string) {
			kinds := map[convert.Kind]build.Kind{convert.Note: build.Note, convert.Warning: build.Warning}
			s.tell(build.Event{Kind: kinds[kind], Message: message})
		},
	}}, nil
}

// builtinLayouts reads the configurations of the built-in block device elements.
func builtinLayouts(elements string) (map[string]layout.Source, error) {
	layouts := map[string]layout.Source{"none": layout.Default()}
	for _, name := range []string{"efi", "gpt", "mbr"} {
		element := "block-device-" + name
		found, err := layout.Find("", []layout.ElementDir{{Name: element, Dir: filepath.Join(elements, element)}}, "")
		if err != nil {
			return nil, err
		}
		layouts[name] = found
	}
	return layouts, nil
}

// findLayout gives what --layout names, or nothing.
func (o *convertOptions) findLayout(layouts map[string]layout.Source) (layout.Source, error) {
	if o.layout == "" {
		return layout.Source{}, nil
	}
	return layoutNamed(o.layout, layouts)
}

// layoutNamed gives one of the layouts by its name, else that of a file.
func layoutNamed(name string, layouts map[string]layout.Source) (layout.Source, error) {
	if known, ok := layouts[name]; ok {
		return known, nil
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return layout.Source{}, err
	}
	found, err := layout.Find("file://"+path, nil, "")
	if errors.Is(err, os.ErrNotExist) {
		err = &usageError{err: fmt.Errorf("%s is neither a layout nor a file", name), hint: "choose efi, gpt, mbr, none or a file with a block device configuration"}
	}
	found.Name = name
	return found, err
}

// sourceDateEpoch reads SOURCE_DATE_EPOCH; nil means that it is not set.
func sourceDateEpoch() (*int64, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return nil, &usageError{err: fmt.Errorf("SOURCE_DATE_EPOCH=%s is not a number of seconds", text)}
	}
	return &seconds, nil
}

// results prints what was made.
func (a *app) results(r *build.Result, progress, file string) error {
	for _, out := range r.Outputs {
		fmt.Fprintln(a.stdout, out.Path)
		if progress != "quiet" && progress != "json" {
			fmt.Fprintf(a.stderr, "%s  %s\n", filepath.Base(out.Path), size(out.Size))
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if progress == "json" {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, `{"event":"result","result":%s}`+"\n", line)
	}
	if file == "" {
		return nil
	}
	return writeWhole(file, append(text, '\n'))
}
