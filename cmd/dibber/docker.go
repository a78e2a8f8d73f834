//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/output"
)

// The output type docker is an image in the storage of docker or podman. A build
// writes an archive, in its namespaces; the user's own process loads it, outside of
// them, where the engine is at home, and removes it.
const (
	typeDocker  = "docker"
	typeArchive = "docker-archive"
)

// outputTypes lists what builds can be asked for.
func outputTypes() []string {
	types := append(output.Types(), typeDocker)
	slices.Sort(types)
	return types
}

// writtenTypes gives the types of files to write for those that are asked for.
func writtenTypes(types []string) []string {
	types = slices.Clone(types)
	for i, name := range types {
		if name == typeDocker {
			types[i] = typeArchive
		}
	}
	return unique(types)
}

// imageName is docker's grammar of names with a tag (distribution's
// reference/regexp.go), without digests.
var imageName = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`)

// checkTypes refuses outputs that cannot be made.
func (o *options) checkTypes() error {
	for _, name := range o.types {
		if !slices.Contains(outputTypes(), name) {
			return &output.TypeError{Type: name, Known: outputTypes()}
		}
	}
	if o.dockerTarget != "" && !imageName.MatchString(o.dockerTarget) {
		return &usageError{err: fmt.Errorf("--docker-target %s cannot name an image", o.dockerTarget), hint: "use lower-case letters and digits, joined by one of -._/, then a colon and a tag"}
	}
	return checkTypes(writtenTypes(o.types))
}

func (o *options) wantsEngine() bool { return slices.Contains(o.types, typeDocker) }

// archive is the file that an engine loads.
func (o *options) archive() string { return o.outputName() + output.Extension(typeArchive) }

// isForEngine tells whether an output is there to be loaded, and for nothing else.
func (o *options) isForEngine(made output.Made) bool {
	return made.Type == typeArchive && o.wantsEngine() && !slices.Contains(o.types, typeArchive)
}

// hideEngine takes out of a result what is not where it will be.
func (o *options) hideEngine(r *build.Result) *build.Result {
	shown := *r
	shown.Outputs = slices.DeleteFunc(slices.Clone(r.Outputs), o.isForEngine)
	return &shown
}

// noEngine says where the image is when there is nothing that takes it.
func (o *options) noEngine() string {
	return "neither docker nor podman is installed: the image is in " + o.archive()
}

// engineError says that no engine took the image.
type engineError struct {
	archive string
	reasons []string
}

func (e *engineError) Error() string {
	return "cannot load the image " + e.archive + ": " + strings.Join(e.reasons, "; ")
}

// loaded is how engines tell the name under which they know an image now.
var loaded = regexp.MustCompile(`(?m)^Loaded image(?:\(s\))?: (\S+)$`)

// loadImage gives the archive to the first engine that takes it, and tells by what
// name other programs find the image there; "" means that no engine is installed.
func (o *options) loadImage(ctx context.Context) (string, error) {
	failed := &engineError{archive: o.archive()}
	for _, engine := range []struct{ command, transport string }{{"docker", "docker-daemon:"}, {"podman", "containers-storage:"}} {
		path, err := exec.LookPath(engine.command)
		if err != nil {
			continue
		}
		said, err := exec.CommandContext(ctx, path, "load", "-i", o.archive()).CombinedOutput()
		if err != nil {
			text := strings.TrimSpace(string(said))
			failed.reasons = append(failed.reasons, fmt.Sprintf("%s: %v: %s", engine.command, err, text[max(0, len(text)-500):]))
			continue
		}
		name := o.dockerTarget
		if m := loaded.FindSubmatch(said); m != nil {
			name = string(m[1])
		}
		if slices.Contains(o.types, typeArchive) {
			return engine.transport + name, nil
		}
		return engine.transport + name, removeArchive(o.archive())
	}
	if len(failed.reasons) > 0 {
		return "", failed
	}
	return "", nil
}

// removeArchive takes away what nobody asked for, its checksums included.
func removeArchive(archive string) error {
	err := os.Remove(archive)
	for _, kind := range artifact.Kinds() {
		if gone := os.Remove(archive + "." + string(kind)); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// deliver does what remains when a build has come to its end.
func (a *app) deliver(ctx context.Context, o *options) error {
	if !o.wantsEngine() {
		return nil
	}
	image, err := o.loadImage(ctx)
	if err != nil {
		return err
	}
	made := output.Made{Type: typeDocker, Path: image}
	if image == "" {
		fmt.Fprintln(a.stderr, "warning:", o.noEngine())
		made = output.Made{Type: typeArchive, Path: o.archive()}
		if info, err := os.Stat(made.Path); err == nil {
			made.Size = info.Size()
		}
		if slices.Contains(o.types, typeArchive) {
			return nil // it is told of already
		}
	}
	fmt.Fprintln(a.stdout, made.Path)
	return o.changeResult(func(r *build.Result) { r.Outputs = append(r.Outputs, made) })
}

// changeResult completes the description that --result asks for.
func (o *options) changeResult(change func(*build.Result)) error {
	if o.result == "" {
		return nil
	}
	var r build.Result
	text, err := os.ReadFile(o.result)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil {
		change(&r)
		text, err = json.MarshalIndent(&r, "", "  ")
	}
	if err == nil {
		err = writeWhole(o.result, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot complete --result %s: %w", o.result, err)
	}
	return nil
}

// hint says how to get at an image that no engine took.
func (e *engineError) hint() string {
	return "start docker, or make podman work, then: docker load -i " + e.archive + ", or podman load -i " + e.archive
}
