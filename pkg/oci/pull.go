package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Found is what a registry has under a name: an image or an artifact.
type Found struct {
	Ref      string // in full
	Digest   string // of the manifest of the platform
	Image    *Base
	Artifact *Artifact
}

// Find asks a registry what it has under a name, for the platform of o. An artifact
// that is there for one platform alone is found for any.
func Find(ctx context.Context, written string, o ResolveOptions) (*Found, error) {
	found, err := findContent(ctx, written, o)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot pull %s: %w", written, err)
	}
	return found, nil
}

func findContent(ctx context.Context, written string, o ResolveOptions) (*Found, error) {
	b, err := Resolve(ctx, written, o)
	var other *notImageError
	if err == nil {
		return &Found{Ref: b.Ref(), Digest: b.Digest(), Image: b}, nil
	}
	if !errors.As(err, &other) || other.place == nil {
		return nil, cmp.Or(errors.Unwrap(err), err)
	}
	place := *other.place
	repo, err := connect(ctx, place, o, transport.PullScope)
	if err != nil {
		return nil, explain(err, place.ref, o.AuthFile)
	}
	a, err := openArtifact(repo, other.from, other.descriptor, other.raw)
	if err != nil {
		return nil, err
	}
	if want := platform(o.Architecture); o.Architecture != "" && a.platform.Architecture != "" && (a.platform.Architecture != want.Architecture || !fits(a.platform.Variant, want)) {
		return nil, &platformError{[]string{a.platform.String()}, want.String()}
	}
	a.explain = func(err error) error { return explain(err, place.ref, o.AuthFile) }
	return &Found{Ref: other.place.ref.String(), Digest: a.Digest(), Artifact: a}, nil
}

// notImageError says that a manifest is that of an artifact.
type notImageError struct {
	descriptor v1.Descriptor
	raw        []byte
	from       blobs
	what       string
	place      *endpoint // nil: it is of no registry
}

func (e *notImageError) Error() string { return e.what }

// freeMargin is what a file system keeps for others when space is judged.
const freeMargin = 1 << 20

// Fetch gets one of the artifact's files, by its number, and puts it at path. What
// has come of it lies beside it under a hidden name, from which an interrupted
// fetch goes on. progress may be nil.
func (a *Artifact) Fetch(ctx context.Context, number int, path string, progress func(done, total int64)) error {
	f := a.files[number]
	err := a.fetch(ctx, f, path, progress)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot fetch %s: %w", f.Title, err)
	}
	return nil
}

func (a *Artifact) fetch(ctx context.Context, f File, path string, progress func(done, total int64)) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is there, and is no regular file", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h, err := v1.NewHash(f.Digest)
	if err != nil {
		return err
	}
	d := v1.Descriptor{Digest: h, Size: f.Size}
	part, err := openPart(path, d)
	if err != nil {
		return err
	}
	defer part.Close()
	if err := part.checkSpace(d); err != nil {
		return err
	}
	if err := part.fill(ctx, a.remote, a.explain, progress); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}

// part is a file that is being fetched, under a hidden name that tells which blob
// it is to become.
type part struct {
	*os.File
	d    v1.Descriptor
	sum  *sum
	path string
}

func openPart(path string, d v1.Descriptor) (*part, error) {
	dir, base := filepath.Split(path)
	hidden := filepath.Join(dir, "."+base+"."+d.Digest.Hex[:12]+".partial")
	f, err := os.OpenFile(hidden, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is being fetched by another process", path), f.Close())
	}
	return &part{f, d, newSum(), path}, nil
}

// checkSpace refuses what has no room, before it is fetched.
func (p *part) checkSpace(d v1.Descriptor) error {
	st, err := p.Stat()
	if err != nil {
		return err
	}
	var space unix.Statfs_t
	if unix.Fstatfs(int(p.Fd()), &space) != nil {
		return nil // writing tells
	}
	free := int64(space.Bavail) * space.Bsize
	if missing := d.Size - st.Size(); missing > free-min(freeMargin, free) {
		if st.Size() == 0 {
			_ = os.Remove(p.Name()) // nothing of it is there
		}
		return fmt.Errorf("it needs %d bytes, and %s has %d: %w", missing, filepath.Dir(p.path), free, unix.ENOSPC)
	}
	return nil
}

// fill fetches what is missing and checks the whole. What turns out to be of
// another file is removed, as nothing can be made of it.
func (p *part) fill(ctx context.Context, from *remoteRepo, explain func(error) error, progress func(done, total int64)) error {
	if err := p.takeOver(ctx); err != nil {
		return err
	}
	if p.sum.size < p.d.Size {
		rc, err := from.blob(ctx, p.d, p.sum.size)
		if err != nil {
			return explain(err)
		}
		defer rc.Close()
		to := counted{io.MultiWriter(p.File, p.sum), func(int) {
			if progress != nil {
				progress(p.sum.size, p.d.Size)
			}
		}}
		// One byte more than there should be, so that too much is seen.
		if _, err := io.Copy(to, io.LimitReader(until{ctx, rc}, p.d.Size-p.sum.size+1)); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				err = explain(err)
			}
			return fmt.Errorf("%w (what has come of it is kept for the next time: %s)", err, p.Name())
		}
	}
	var err error
	switch {
	case p.sum.size > p.d.Size:
		err = fmt.Errorf("blob %s is longer than its %d bytes", p.d.Digest, p.d.Size)
	case p.sum.digest() != p.d.Digest:
		err = fmt.Errorf("blob %s is damaged: its content has the digest %s", p.d.Digest, p.sum.digest())
	default:
		return nil
	}
	return errors.Join(err, os.Remove(p.Name()))
}

// takeOver reads what an earlier fetch left.
func (p *part) takeOver(ctx context.Context) error {
	st, err := p.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > p.d.Size {
		return p.Truncate(0)
	}
	if _, err := io.Copy(p.sum, until{ctx, p.File}); err != nil {
		return err
	}
	return nil
}
