//go:build containers_image_openpgp

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/buildah/copier"
	"go.podman.io/buildah/define"
	"go.podman.io/common/libimage"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	storagetransport "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/dibber-project/dibber/pkg/engine"
)

// Images implements engine.Images.
func (e *Engine) Images(ctx context.Context) ([]engine.Image, error) {
	r, err := e.runtime()
	if err != nil {
		return nil, err
	}
	all, err := r.ListImages(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var out []engine.Image
	for _, i := range all {
		described, err := describe(ctx, i)
		if err != nil {
			return nil, err
		}
		out = append(out, described)
	}
	return out, nil
}

// Image implements engine.Images.
func (e *Engine) Image(ctx context.Context, name string, p engine.Platform) (engine.Image, error) {
	found, _, err := e.lookup(name)
	if err != nil {
		return engine.Image{}, err
	}
	image, err := describe(ctx, found)
	if err == nil && (p.Arch != "" && image.Architecture != p.Arch || p.Variant != "" && image.Variant != p.Variant) {
		err = &engine.UnknownError{Kind: "image", Name: name + " for " + p.Arch}
	}
	return image, err
}

// lookup finds an image by a name or an ID, and gives the full name it was found by.
func (e *Engine) lookup(name string) (*libimage.Image, string, error) {
	r, err := e.runtime()
	if err != nil {
		return nil, "", err
	}
	image, found, err := r.LookupImage(strings.TrimPrefix(name, "docker://"), nil)
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, "", &engine.UnknownError{Kind: "image", Name: name}
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot find image %s: %w", name, err)
	}
	return image, found, nil
}

func describe(ctx context.Context, i *libimage.Image) (engine.Image, error) {
	data, err := i.Inspect(ctx, &libimage.InspectOptions{WithSize: true})
	if err != nil {
		return engine.Image{}, fmt.Errorf("cannot read image %s: %w", i.ID(), err)
	}
	out := engine.Image{
		ID: i.ID(), Names: i.Names(), Digests: data.RepoDigests, Digest: data.Digest.String(), Size: data.Size,
		Architecture: data.Architecture, Author: data.Author,
	}
	if data.Created != nil {
		out.Created = *data.Created
	}
	if data.RootFS != nil {
		for _, l := range data.RootFS.Layers {
			out.Layers = append(out.Layers, l.String())
		}
	}
	if c := data.Config; c != nil {
		out.Config = engine.Config{
			User: c.User, WorkingDir: c.WorkingDir, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, StopSignal: c.StopSignal,
			Volumes: slices.Sorted(maps.Keys(c.Volumes)), ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)), Labels: c.Labels,
		}
	}
	return out, nil
}

// Pull implements engine.Images.
func (e *Engine) Pull(ctx context.Context, name string, p engine.Platform) (string, error) {
	if p.Arch == "" {
		p = e.o.Platform
	}
	fetched, err := e.o.Fetch(ctx, name, p)
	if err != nil {
		return "", err
	}
	from, err := layout.ParseReference(strings.TrimPrefix(fetched.Transport, "oci:"))
	if err != nil {
		return "", fmt.Errorf("internal error: %s is no image layout: %w", fetched.Transport, err)
	}
	if err := e.copyIn(ctx, from, fetched.Name); err != nil {
		return "", fmt.Errorf("cannot unpack image %s: %w", name, err)
	}
	image, _, err := e.lookup(fetched.Name)
	if err != nil {
		return "", err
	}
	return image.ID(), nil
}

// copyIn copies an image into the store under a full name.
func (e *Engine) copyIn(ctx context.Context, from types.ImageReference, name string) (err error) {
	to, err := storagetransport.Transport.ParseStoreReference(e.storage, name)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	_, err = copy.Image(ctx, policy, to, from, &copy.Options{SourceCtx: e.system, DestinationCtx: e.system})
	return err
}

// Tag implements engine.Images.
func (e *Engine) Tag(_ context.Context, name, as string) error {
	image, _, err := e.lookup(name)
	if err != nil {
		return err
	}
	return image.Tag(as)
}

// RemoveImage implements engine.Images.
func (e *Engine) RemoveImage(ctx context.Context, name string, force bool) (engine.Removed, error) {
	image, _, err := e.lookup(name)
	if err != nil {
		return engine.Removed{}, err
	}
	users, err := image.Containers()
	if err != nil {
		return engine.Removed{}, err
	}
	if len(users) > 0 && !force && len(image.Names()) < 2 {
		return engine.Removed{}, fmt.Errorf("image %s is used by container %.12s: remove that before, or use -f", name, users[0])
	}
	r, err := e.runtime()
	if err != nil {
		return engine.Removed{}, err
	}
	reports, errs := r.RemoveImages(ctx, []string{name}, &libimage.RemoveImagesOptions{Force: force, NoPrune: true, RemoveContainerFunc: e.removeUsers})
	var out engine.Removed
	for _, report := range reports {
		out.Untagged = append(out.Untagged, report.Untagged...)
		if report.Removed {
			out.Deleted = report.ID
		}
	}
	return out, errors.Join(errs...)
}

// removeUsers removes the containers of an image.
func (e *Engine) removeUsers(image string) error {
	all, err := e.storage.Containers()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if c.ImageID == image {
			errs = append(errs, e.Remove(context.Background(), c.ID))
		}
	}
	return errors.Join(errs...)
}

// Load implements engine.Images.
func (e *Engine) Load(ctx context.Context, from io.Reader) ([]string, error) {
	path, err := e.spool("load-*.tar", from)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	r, err := e.runtime()
	if err != nil {
		return nil, err
	}
	options := &libimage.LoadOptions{}
	options.SignaturePolicyPath = e.policy
	names, err := r.Load(ctx, path, options)
	if err != nil {
		return nil, fmt.Errorf("cannot load the archive: %w", err)
	}
	return names, nil
}

// spool keeps a stream in a file.
func (e *Engine) spool(pattern string, from io.Reader) (string, error) {
	f, err := os.CreateTemp(e.tempDir(), pattern)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(f, from); err != nil {
		return "", errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f.Name(), f.Close()
}

// Save implements engine.Images.
func (e *Engine) Save(ctx context.Context, names []string, format string, to io.Writer) error {
	for _, name := range names {
		if _, _, err := e.lookup(name); err != nil {
			return err
		}
	}
	r, err := e.runtime()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(e.tempDir(), "save-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "archive.tar")
	options := &libimage.SaveOptions{}
	options.SignaturePolicyPath = e.policy
	if err := r.Save(ctx, names, format, path, options); err != nil {
		return fmt.Errorf("cannot save %s: %w", strings.Join(names, ", "), err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// Import implements engine.Images.
func (e *Engine) Import(ctx context.Context, from io.Reader, i engine.Import) (id string, err error) {
	b, err := buildah.NewBuilder(ctx, e.storage, e.builderOptions("scratch", ""))
	if err != nil {
		return "", fmt.Errorf("making a working container: %w", err)
	}
	defer func() { err = errors.Join(err, b.Delete()) }()
	root, err := b.Mount("")
	if err != nil {
		return "", err
	}
	content, err := archive.DecompressStream(from)
	if err == nil {
		// Device nodes cannot be made without root.
		err = errors.Join(copier.Put(root, root, copier.PutOptions{IgnoreDevices: true}, content), content.Close())
	}
	if err = errors.Join(err, b.Unmount()); err != nil {
		return "", fmt.Errorf("cannot unpack the tar: %w", err)
	}
	if i.Arch != "" {
		b.SetArchitecture(i.Arch)
	}
	b.SetComment(i.Message)
	return e.commit(ctx, b, engine.Commit{Name: i.Name, Changes: i.Changes})
}

// Commit implements engine.Images.
func (e *Engine) Commit(ctx context.Context, c engine.Commit) (string, error) {
	// Opening that one alone would look for netavark and leave a lock on the machine.
	all, err := buildah.OpenAllBuilders(e.storage)
	if err != nil {
		return "", fmt.Errorf("cannot open container %.12s: %w", c.Container, err)
	}
	for _, b := range all {
		if b.ContainerID == c.Container {
			b.SetMaintainer(c.Author)
			return e.commit(ctx, b, c)
		}
	}
	return "", &engine.UnknownError{Kind: "container", Name: c.Container}
}

func (e *Engine) commit(ctx context.Context, b *buildah.Builder, c engine.Commit) (string, error) {
	options := buildah.CommitOptions{
		PreferredManifestType: manifestType(c.Docker),
		SignaturePolicyPath:   e.policy,
		SystemContext:         e.system,
		OverrideChanges:       c.Changes,
		Squash:                c.Squash,
	}
	var to types.ImageReference
	if c.Name != "" {
		r, err := e.runtime()
		if err != nil {
			return "", err
		}
		full, err := r.ResolveName(c.Name)
		if err == nil {
			to, err = storagetransport.Transport.ParseStoreReference(e.storage, full)
		}
		if err != nil {
			return "", fmt.Errorf("cannot name an image %s: %w", c.Name, err)
		}
	}
	id, _, _, err := b.Commit(ctx, to, options)
	if err != nil {
		return "", fmt.Errorf("cannot commit the container: %w", err)
	}
	return id, nil
}

func manifestType(docker bool) string {
	if docker {
		return define.Dockerv2ImageManifest
	}
	return define.OCIv1ImageManifest
}
