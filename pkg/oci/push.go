package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// uploads is how many blobs are pushed at a time.
const uploads = 3

// Content is what registries hold: an [Image], an [Artifact] or an [Index] of
// several of one kind.
type Content interface {
	Digest() string // of the manifest
	parcel() parcel
}

// parcel is content in the form in which it is pushed.
type parcel struct {
	descriptor v1.Descriptor
	raw        []byte // the manifest
	blobs      []v1.Descriptor
	from       blobs
	base       string   // name of the image that it was built on, if known
	children   []parcel // of an index
}

func (i *Image) parcel() parcel {
	held := memory{map[v1.Hash][]byte{i.manifest.Config.Digest: i.rawConfig}, i.from}
	return parcel{
		descriptor: descriptorFor(i, ""), raw: i.raw,
		blobs: append([]v1.Descriptor{i.manifest.Config}, i.manifest.Layers...), from: held,
		base: i.manifest.Annotations[specs.AnnotationBaseImageName],
	}
}

// all lists the blobs of a parcel and of its children.
func (p parcel) all() []v1.Descriptor {
	list := p.blobs
	for _, child := range p.children {
		list = append(list, child.all()...)
	}
	return list
}

// Push puts content into a registry under a full name, such as
// registry.example.org/team/debian:12. Blobs that are there already are not sent.
// The name is given last, so that it never leads to what is not there.
func Push(ctx context.Context, written string, what Content, o ResolveOptions) error {
	err := push(ctx, written, what.parcel(), o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &PushError{Ref: written, err: err}
	}
	return nil
}

// PushError says why content did not get into a registry.
type PushError struct {
	Ref string // as the user wrote it
	err error
}

func (e *PushError) Error() string { return fmt.Sprintf("cannot push to %s: %v", e.Ref, e.err) }
func (e *PushError) Unwrap() error { return e.err }

// CheckPushName says what is wrong with a name to push to.
func CheckPushName(written string) error {
	_, err := pushName(written)
	return err
}

// WithTagSuffix gives a name with something added to its tag: x:1 becomes x:1-qcow2.
func WithTagSuffix(written, suffix string) string {
	n, err := pushName(written)
	if err != nil {
		return written
	}
	n.tag += suffix
	return n.String()
}

// PushName gives a name in full, with its tag.
func PushName(written string) string { return WithTagSuffix(written, "") }

func pushName(written string) (named, error) {
	n, err := parseNamed(strings.TrimPrefix(written, prefixDocker))
	switch {
	case err != nil:
		return n, err
	case n.host == "":
		return n, fmt.Errorf("the name says no registry; such as %s/YOU/%s does", dockerHost, n.path)
	case n.digest != "":
		return n, errors.New("an image is pushed to a tag; its digest follows from what it holds")
	}
	return n.official(), nil
}

func push(ctx context.Context, written string, p parcel, o ResolveOptions) error {
	place, err := pushPlace(written, o)
	if err != nil {
		return err
	}
	if err := pushTo(ctx, place, p, o); err != nil {
		return explain(err, place.ref, o.AuthFile)
	}
	return nil
}

// pushPlace is where a name leads to; nothing is pushed to a mirror.
func pushPlace(written string, o ResolveOptions) (endpoint, error) {
	n, err := pushName(written)
	if err != nil {
		return endpoint{}, err
	}
	conf, err := readRegistries(o.RegistriesConf)
	if err != nil {
		return endpoint{}, err
	}
	place := endpoint{n, o.Insecure}
	if reg, _ := conf.match(n); reg != nil {
		if reg.Blocked {
			return endpoint{}, fmt.Errorf("registry %s is blocked by the registries' configuration", reg.Prefix)
		}
		place.insecure = place.insecure || reg.Insecure
	}
	return place, nil
}

func pushTo(ctx context.Context, place endpoint, p parcel, o ResolveOptions) error {
	var others []name.Repository
	for _, base := range bases(p, place.ref) {
		ref, err := base.reference(place.insecure)
		if err == nil {
			others = append(others, ref.Context())
		}
	}
	repo, err := connect(ctx, place, o, transport.PushScope, others...)
	if err != nil {
		return err
	}
	tell := teller(p.all(), o.Progress)
	if err := repo.putBlobs(ctx, p, place.ref, tell); err != nil {
		return err
	}
	return repo.putManifest(ctx, p.descriptor, p.raw, place.ref.tag)
}

// bases lists the repositories of the same registry in which layers may lie.
func bases(p parcel, target named) []named {
	var list []named
	if n, err := parseNamed(p.base); err == nil && p.base != "" && n.official().host == target.host && n.official().path != target.path {
		list = append(list, n.official())
	}
	for _, child := range p.children {
		list = append(list, bases(child, target)...)
	}
	return list
}

// putBlobs brings all that a manifest speaks of into the repository.
func (r *remoteRepo) putBlobs(ctx context.Context, p parcel, target named, tell func(int)) error {
	for _, child := range p.children {
		if err := r.putBlobs(ctx, child, target, tell); err != nil {
			return err
		}
		if err := r.putManifest(ctx, child.descriptor, child.raw, child.descriptor.Digest.String()); err != nil {
			return err
		}
	}
	from := ""
	if b := bases(parcel{base: p.base}, target); len(b) > 0 {
		from = b[0].path
	}
	return each(ctx, uploads, unique(p.blobs), func(ctx context.Context, d v1.Descriptor) error {
		return r.put(ctx, p.from, d, from, tell)
	})
}

// CheckPush asks a registry whether it would let anything be pushed under a name.
func CheckPush(ctx context.Context, written string, o ResolveOptions) error {
	err := checkPush(ctx, written, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &PushError{Ref: written, err: err}
	}
	return nil
}

func checkPush(ctx context.Context, written string, o ResolveOptions) error {
	place, err := pushPlace(written, o)
	if err != nil {
		return err
	}
	repo, err := connect(ctx, place, o, transport.PushScope)
	if err == nil {
		err = repo.again(ctx, "asking "+repo.host, func() (bool, error) { return false, repo.tryUpload(ctx) })
	}
	if err != nil {
		return explain(err, place.ref, o.AuthFile)
	}
	return nil
}

// tryUpload begins an upload and takes it back.
func (r *remoteRepo) tryUpload(ctx context.Context) error {
	u := &upload{remoteRepo: r}
	if _, err := u.begin(ctx); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.location, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil // registries forget uploads by themselves
	}
	return resp.Body.Close()
}
