package oci

import (
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Sizes beyond which a document is not read into memory. Registries refuse
// manifests over 4 MiB.
const (
	maxManifestBytes = 4 << 20
	maxConfigBytes   = 8 << 20
	maxIndexBytes    = 16 << 20
)

// checked passes a blob on and fails at its end, or as soon as it is too long,
// if it is not what its digest and size say.
type checked struct {
	io.ReadCloser
	sum  hash.Hash
	left int64
	want v1.Descriptor
}

func check(rc io.ReadCloser, want v1.Descriptor) (io.ReadCloser, error) {
	sum, err := v1.Hasher(want.Digest.Algorithm)
	if err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return &checked{rc, sum, want.Size, want}, nil
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n]) // a hash never fails
	c.left -= int64(n)
	switch {
	case c.left < 0:
		return 0, fmt.Errorf("blob %s is longer than its %d bytes", c.want.Digest, c.want.Size)
	case err != io.EOF:
		return n, err
	case c.left > 0:
		return n, fmt.Errorf("blob %s is cut short: %d of %d bytes are missing", c.want.Digest, c.left, c.want.Size)
	}
	if got := fmt.Sprintf("%x", c.sum.Sum(nil)); got != c.want.Digest.Hex {
		return n, fmt.Errorf("blob %s is damaged: its content has the digest sha256:%s", c.want.Digest, got)
	}
	return n, io.EOF
}

// readBlob gives the whole of a small blob, checked.
func readBlob(from blobs, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, and no more than %d are read", d.Digest, d.Size, limit)
	}
	rc, err := openBlob(from, d)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	return b, errors.Join(err, rc.Close())
}

func openBlob(from blobs, d v1.Descriptor) (io.ReadCloser, error) {
	rc, err := from.open(d)
	if err != nil {
		return nil, err
	}
	return check(rc, d)
}
