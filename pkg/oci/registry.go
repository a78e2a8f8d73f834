package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// resolveRegistry asks the places that the name may mean, in order.
func resolveRegistry(ctx context.Context, written string, want v1.Platform, o ResolveOptions) (*Base, error) {
	conf, err := readRegistries(o.RegistriesConf)
	if err != nil {
		return nil, err
	}
	full, explicit := strings.CutPrefix(written, prefixDocker)
	n, err := parseNamed(full)
	if err != nil {
		return nil, err
	}
	if explicit && n.host == "" {
		n = n.on(dockerHost)
	}
	names, err := conf.candidates(n)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if o.Cache == "" || !o.Offline && n.digest == "" {
			continue
		}
		if image := fromCache(o.Cache, n.String(), want); image != nil {
			return newBase(n.String(), image, want)
		}
	}
	if o.Offline {
		return nil, fmt.Errorf("%s for %s is not in the cache %s, and the network is not to be used", names[0], want, o.Cache)
	}
	var failures []error
	for _, n := range names {
		image, err := fromRegistry(ctx, conf, n, want, o)
		if err == nil {
			return newBase(n.String(), image, want)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// fromRegistry asks mirrors and then the registry itself. Only the last
// failure is told: a mirror need not have everything.
func fromRegistry(ctx context.Context, conf *registries, n named, want v1.Platform, o ResolveOptions) (*Image, error) {
	places, err := conf.endpoints(n)
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		place.insecure = place.insecure || o.Insecure
		var image *Image
		if image, err = ask(ctx, place, want, o); err == nil {
			return image, nil
		}
		err = explain(err, place.ref, o.AuthFile)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// ask gets the manifest and config from one place. What Cache holds already is
// read there.
func ask(ctx context.Context, place endpoint, want v1.Platform, o ResolveOptions) (*Image, error) {
	ref, err := place.ref.reference(place.insecure)
	if err != nil {
		return nil, err
	}
	options, err := remoteOptions(ctx, place, o)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, err
	}
	got, err := puller.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	d := got.Descriptor
	from := memory{map[v1.Hash][]byte{d.Digest: got.Manifest}, newRepository(ctx, puller, ref.Context(), place, o)}
	if o.Cache != "" {
		from.below = either{layout{dir: o.Cache}, from.below}
	}
	image, err := openPlatform(from, d, want, 0)
	var other *notImageError
	if errors.As(err, &other) {
		other.place = &place
	}
	return image, err
}

// either looks in a folder before it goes elsewhere.
type either struct {
	here      layout
	elsewhere blobs
}

func (e either) open(d v1.Descriptor) (io.ReadCloser, error) {
	if e.here.has(d) {
		return e.here.open(d)
	}
	return e.elsewhere.open(d)
}

// repository is a registry's repository as a place of blobs.
type repository struct {
	ctx    context.Context // Resolve's: an open blob ends with it
	puller *remote.Puller
	repo   name.Repository
	place  endpoint
	o      ResolveOptions
	reach  func() (*remoteRepo, error) // connects once
}

func newRepository(ctx context.Context, puller *remote.Puller, repo name.Repository, place endpoint, o ResolveOptions) repository {
	return repository{ctx, puller, repo, place, o, sync.OnceValues(func() (*remoteRepo, error) {
		return connect(ctx, place, o, transport.PullScope)
	})}
}

func (r repository) open(d v1.Descriptor) (io.ReadCloser, error) {
	if d.MediaType.IsImage() || d.MediaType.IsIndex() {
		got, err := r.puller.Get(r.ctx, r.repo.Digest(d.Digest.String()))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(got.Manifest)), nil
	}
	repo, err := r.reach()
	if err != nil {
		return nil, explain(err, r.place.ref, r.o.AuthFile)
	}
	rc, err := repo.blob(r.ctx, d, 0)
	if err != nil {
		return nil, explain(err, r.place.ref, r.o.AuthFile)
	}
	return rc, nil
}

func remoteOptions(ctx context.Context, place endpoint, o ResolveOptions) ([]remote.Option, error) {
	t, err := transportTo(place.ref.host, place.insecure)
	if err != nil {
		return nil, err
	}
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(logins(o.AuthFile)),
		remote.WithTransport(t),
		remote.WithUserAgent("dibber"),
	}, nil
}

// explain puts a registry's answer into the user's terms. authFile is that of
// ResolveOptions.
func explain(err error, n named, authFile string) error {
	var refused *transport.Error
	var network *url.Error
	var wrong *platformError
	var local *localError
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &wrong):
		return err
	case errors.As(err, &local):
		return local
	case errors.Is(err, errPlain):
		return fmt.Errorf("registry %s does not answer by https: %w", n.host, errPlain)
	case errors.As(err, &refused):
		return explainAnswer(refused, err, n, authFile)
	case errors.As(err, &network):
		cause := network.Err
		var dns *net.DNSError
		if errors.As(err, &dns) {
			cause = errors.New("its name is not known to the network")
		}
		return fmt.Errorf("registry %s cannot be reached: %w", n.host, cause)
	}
	return fmt.Errorf("asking %s: %w", n.host, err)
}

func explainAnswer(refused *transport.Error, err error, n named, authFile string) error {
	code := transport.ErrorCode("")
	if len(refused.Errors) > 0 {
		code = refused.Errors[0].Code
	}
	switch {
	case refused.StatusCode == http.StatusUnauthorized, refused.StatusCode == http.StatusForbidden,
		code == transport.UnauthorizedErrorCode, code == transport.DeniedErrorCode:
		return explainRefusal(n, authFile)
	case code == transport.NameUnknownErrorCode:
		return fmt.Errorf("registry %s has no image %s", n.host, n.path)
	case code == transport.ManifestUnknownErrorCode && n.digest == "":
		return fmt.Errorf("registry %s has no tag %s of %s", n.host, n.tag, n.path)
	case refused.StatusCode == http.StatusNotFound:
		return fmt.Errorf("registry %s does not have %s", n.host, n)
	case refused.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("registry %s has had too many requests from here; wait, or log in (podman login %s)", n.host, n.host)
	}
	return fmt.Errorf("registry %s answered: %w", n.host, err)
}

// explainRefusal says by which login access was refused.
func explainRefusal(n named, authFile string) error {
	ref, err := n.reference(false)
	if err != nil {
		return err
	}
	login := logins(authFile).describe(ref.Context())
	if strings.HasPrefix(login, "without") {
		return fmt.Errorf("registry %s refuses access to %s %s: it does not exist, or wants one (podman login %s)", n.host, n.path, login, n.host)
	}
	return fmt.Errorf("registry %s refuses access to %s %s: it is wrong, or may not do this", n.host, n.path, login)
}

func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	index := &v1.IndexManifest{}
	return index, json.Unmarshal(raw, index)
}
