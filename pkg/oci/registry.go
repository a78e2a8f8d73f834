package oci

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

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
		err = explain(err, place.ref)
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
	from := memory{map[v1.Hash][]byte{d.Digest: got.Manifest}, repository{ctx, puller, ref.Context()}}
	if o.Cache != "" {
		from.below = either{layout{dir: o.Cache}, from.below}
	}
	return openPlatform(from, d, want, 0)
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
}

func (r repository) open(d v1.Descriptor) (io.ReadCloser, error) {
	ref := r.repo.Digest(d.Digest.String())
	if d.MediaType.IsImage() || d.MediaType.IsIndex() {
		got, err := r.puller.Get(r.ctx, ref)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(got.Manifest)), nil
	}
	layer, err := r.puller.Layer(r.ctx, ref)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

func remoteOptions(ctx context.Context, place endpoint, o ResolveOptions) ([]remote.Option, error) {
	t, err := transportTo(place.ref.host, place.insecure)
	if err != nil {
		return nil, err
	}
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(keychain(o.AuthFile)),
		remote.WithTransport(t),
		remote.WithUserAgent("dibber"),
	}, nil
}

// transportTo trusts, besides the machine's authorities, those that docker and
// podman are told to trust for a registry (containers-certs.d(5)).
func transportTo(host string, insecure bool) (http.RoundTripper, error) {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return remote.DefaultTransport, nil
	}
	t = t.Clone()
	var roots *x509.CertPool
	for _, dir := range []string{"/etc/containers/certs.d", "/etc/docker/certs.d"} {
		files, err := filepath.Glob(filepath.Join(dir, host, "*.crt"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading a certificate for %s: %w", host, err)
			}
			if roots == nil {
				if roots, err = x509.SystemCertPool(); err != nil {
					return nil, err
				}
			}
			roots.AppendCertsFromPEM(b)
		}
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, InsecureSkipVerify: insecure}
	return t, nil
}

// explain puts a registry's answer into the user's terms.
func explain(err error, n named) error {
	var refused *transport.Error
	var network *url.Error
	var wrong *platformError
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &wrong):
		return err
	case errors.As(err, &refused):
		return explainAnswer(refused, err, n)
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

func explainAnswer(refused *transport.Error, err error, n named) error {
	code := transport.ErrorCode("")
	if len(refused.Errors) > 0 {
		code = refused.Errors[0].Code
	}
	switch {
	case refused.StatusCode == http.StatusUnauthorized, refused.StatusCode == http.StatusForbidden,
		code == transport.UnauthorizedErrorCode, code == transport.DeniedErrorCode:
		return fmt.Errorf("registry %s refuses access to %s: it does not exist, or wants a login (podman login %s)", n.host, n.path, n.host)
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

func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	index := &v1.IndexManifest{}
	return index, json.Unmarshal(raw, index)
}

// Push puts an image into a registry under a full name, such as
// registry.example.org/team/debian:12.
func Push(ctx context.Context, written string, image *Image, o ResolveOptions) error {
	if err := push(ctx, written, image, o); err != nil {
		return fmt.Errorf("cannot push to %s: %w", written, err)
	}
	return nil
}

func push(ctx context.Context, written string, image *Image, o ResolveOptions) error {
	n, err := parseNamed(strings.TrimPrefix(written, prefixDocker))
	if err != nil {
		return err
	}
	if n.host == "" {
		return fmt.Errorf("the name says no registry; such as %s/YOU/%s does", dockerHost, n.path)
	}
	if n.digest != "" {
		return errors.New("an image is pushed to a tag; its digest follows from what it holds")
	}
	conf, err := readRegistries(o.RegistriesConf)
	if err != nil {
		return err
	}
	place := endpoint{n.official(), o.Insecure}
	if reg, _ := conf.match(n); reg != nil {
		if reg.Blocked {
			return fmt.Errorf("registry %s is blocked by the registries' configuration", reg.Prefix)
		}
		place.insecure = place.insecure || reg.Insecure
	}
	ref, err := place.ref.reference(place.insecure)
	if err != nil {
		return err
	}
	options, err := remoteOptions(ctx, place, o)
	if err != nil {
		return err
	}
	img, err := image.remoteable()
	if err != nil {
		return err
	}
	if err := remote.Write(ref, img, options...); err != nil {
		return explain(err, place.ref)
	}
	return nil
}
