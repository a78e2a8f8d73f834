package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// remoteRepo is one repository of a registry, spoken to as the distribution
// specification says. What fails for a passing reason is tried again.
type remoteRepo struct {
	retry
	client *http.Client
	base   string // https://HOST/v2/PATH
	host   string
}

// connect finds out how a registry wants to be spoken to, and logs in. scope is
// what the login is for; others are repositories that are read besides.
func connect(ctx context.Context, place endpoint, o ResolveOptions, scope string, others ...name.Repository) (*remoteRepo, error) {
	ref, err := place.ref.reference(place.insecure)
	if err != nil {
		return nil, err
	}
	repo := ref.Context()
	login, err := logins(o.AuthFile).Resolve(repo)
	if err != nil {
		return nil, err
	}
	t, err := transportTo(place.ref.host, place.insecure)
	if err != nil {
		return nil, err
	}
	scopes := []string{repo.Scope(scope)}
	for _, other := range others {
		scopes = append(scopes, other.Scope(transport.PullScope))
	}
	r := &remoteRepo{retry: o.retry(), base: "https://" + repo.RegistryStr() + "/v2/" + repo.RepositoryStr(), host: place.ref.host}
	err = r.again(ctx, "asking "+r.host, func() (bool, error) {
		ready, err := transport.NewWithContext(ctx, repo.Registry, login, transport.NewUserAgent(t, "dibber"), scopes)
		r.client = &http.Client{Transport: ready}
		return false, err
	})
	return r, err
}

// answerTimeout is how long a registry may think about a request that it has in
// full. Some put a large blob together only then.
const answerTimeout = 10 * time.Minute

// transportTo trusts, besides the machine's authorities (or those of SSL_CERT_FILE),
// those that docker and podman are told to trust for a registry, and has the
// certificates that they show it (containers-certs.d(5)).
func transportTo(host string, insecure bool) (http.RoundTripper, error) {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return remote.DefaultTransport, nil
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = answerTimeout
	config, err := certificates(host)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate for %s: %w", host, err)
	}
	config.InsecureSkipVerify = insecure
	t.TLSClientConfig = config
	if insecure || isLoopback(host) {
		return t, nil
	}
	return encrypted{t, host}, nil
}

// certificates reads the folders certs.d for a registry.
func certificates(host string) (*tls.Config, error) {
	config := &tls.Config{}
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if user, err := os.UserConfigDir(); err == nil {
		dirs = append(dirs, filepath.Join(user, "containers/certs.d"))
	}
	for _, dir := range dirs {
		dir = filepath.Join(dir, host)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // there is none, or it is another user's
		}
		for _, e := range entries {
			if err := addCertificate(config, filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return config, nil
}

// addCertificate adds an authority, a .crt, or our own certificate, a .cert beside
// its .key.
func addCertificate(config *tls.Config, file string) error {
	switch stem := strings.TrimSuffix(file, filepath.Ext(file)); filepath.Ext(file) {
	case ".crt":
		b, err := os.ReadFile(file)
		if err == nil && config.RootCAs == nil {
			config.RootCAs, err = x509.SystemCertPool()
		}
		if err != nil {
			return err
		}
		config.RootCAs.AppendCertsFromPEM(b)
	case ".cert":
		own, err := tls.LoadX509KeyPair(file, stem+".key")
		if err != nil {
			return err
		}
		config.Certificates = append(config.Certificates, own)
	}
	return nil
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// encrypted lets nothing through to a registry by http, logins least of all.
type encrypted struct {
	http.RoundTripper
	host string
}

func (e encrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && r.URL.Host == e.host {
		return nil, errPlain
	}
	return e.RoundTripper.RoundTrip(r)
}

var errPlain = errors.New("nothing is sent without encryption, unless the registry is on this machine or --tls-verify=false is given")
