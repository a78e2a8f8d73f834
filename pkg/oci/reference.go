package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The places that an image can be named in, by the prefixes that podman and
// skopeo use.
const (
	prefixDocker        = "docker://"
	prefixLayout        = "oci:"
	prefixOCIArchive    = "oci-archive:"
	prefixDockerArchive = "docker-archive:"
)

const (
	dockerHost = "docker.io"
	latest     = "latest"
)

// named is the name of an image in a registry, in full: nothing is implied.
type named struct {
	host   string // with its port
	path   string
	tag    string // "" if there is a digest
	digest string // "" or "sha256:..."
}

func (n named) String() string {
	s := n.host + "/" + n.path
	if n.tag != "" {
		s += ":" + n.tag
	}
	if n.digest != "" {
		s += "@" + n.digest
	}
	return s
}

// parseNamed reads a name as people write it. The host is "" if the name does
// not give one ("debian", "library/debian:12").
func parseNamed(s string) (named, error) {
	var n named
	rest, digest, ok := strings.Cut(s, "@")
	if ok {
		if _, err := v1.NewHash(digest); err != nil {
			return n, fmt.Errorf("%q is no digest: want sha256: and 64 hexadecimal digits", digest)
		}
		n.digest = digest
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, n.tag = rest[:i], rest[i+1:]
		if n.tag == "" {
			return n, errors.New("the tag is empty")
		}
	}
	n.path = rest
	if first, more, ok := strings.Cut(rest, "/"); ok && isHost(first) {
		n.host, n.path = first, more
	}
	if n.tag == "" && n.digest == "" {
		n.tag = latest
	}
	if n.path == "" {
		return n, errors.New("the name is empty")
	}
	probe := n
	if probe.host == "" {
		probe.host = dockerHost
	}
	_, err := probe.reference(false)
	return n, err
}

// isHost follows the rule of docker and podman for the first part of a name.
func isHost(s string) bool {
	return strings.ContainsAny(s, ".:") || s == "localhost" || strings.ToLower(s) != s
}

// on gives the name at a host, with the folder that docker.io implies.
func (n named) on(host string) named {
	n.host = host
	if i := strings.IndexByte(host, '/'); i >= 0 { // a search registry may have a folder
		n.host, n.path = host[:i], host[i+1:]+"/"+n.path
	}
	return n.official()
}

func (n named) official() named {
	if n.host == "index."+dockerHost || n.host == "registry-1."+dockerHost {
		n.host = dockerHost
	}
	if n.host == dockerHost && !strings.Contains(n.path, "/") {
		n.path = "library/" + n.path
	}
	return n
}

// reference gives the name as the library wants it. A digest counts more than
// a tag beside it.
func (n named) reference(insecure bool) (name.Reference, error) {
	options := []name.Option{name.WithDefaultTag(latest)}
	if insecure {
		options = append(options, name.Insecure)
	}
	if n.digest != "" {
		n.tag = ""
	}
	ref, err := name.ParseReference(n.String(), options...)
	if err != nil {
		return nil, fmt.Errorf("it is not the name of an image: %w", err)
	}
	return ref, nil
}

// splitPath takes "PATH:TAG" and "PATH@sha256:..." apart. The path has no colon,
// as for podman.
func splitPath(s string) (path, tag, digest string) {
	if i := strings.Index(s, "@sha256:"); i >= 0 {
		return s[:i], "", s[i+1:]
	}
	path, tag, _ = strings.Cut(s, ":")
	return path, tag, ""
}
