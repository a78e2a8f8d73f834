package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// download is a blob that is being read from a registry. When the connection is
// lost it goes on where it was.
type download struct {
	*remoteRepo
	ctx    context.Context
	cancel context.CancelFunc
	d      v1.Descriptor
	offset int64
	rc     io.ReadCloser // nil: not connected
}

// blob opens a blob at an offset. It ends with ctx. What it gives is not checked.
func (r *remoteRepo) blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b := &download{remoteRepo: r, d: d, offset: offset}
	b.ctx, b.cancel = context.WithCancel(ctx)
	err := r.again(b.ctx, "reading from "+r.host, func() (bool, error) { return false, b.connect() })
	if err != nil {
		b.cancel()
		return nil, err
	}
	return b, nil
}

// connect asks for the rest of the blob.
func (b *download) connect() error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, b.base+"/blobs/"+b.d.Digest.String(), nil)
	if err != nil {
		return err
	}
	if b.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.send(req, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	b.rc = resp.Body
	if resp.StatusCode == http.StatusOK {
		_, err = io.CopyN(io.Discard, resp.Body, b.offset) // the registry knows no ranges
	} else if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.offset)) {
		err = fmt.Errorf("registry %s gives another part of blob %s than it was asked for", b.host, b.d.Digest)
	}
	if err != nil {
		b.drop()
	}
	return err
}

func (b *download) drop() {
	if b.rc != nil {
		_ = b.rc.Close() // it is only read, and given up
	}
	b.rc = nil
}

func (b *download) Read(p []byte) (n int, err error) {
	if b.offset >= b.d.Size && b.rc == nil {
		return 0, io.EOF
	}
	err = b.again(b.ctx, "reading from "+b.host, func() (bool, error) {
		if b.rc == nil {
			if err := b.connect(); err != nil {
				return false, err
			}
		}
		n, err = b.rc.Read(p)
		b.offset += int64(n)
		if err == io.EOF && b.offset < b.d.Size {
			err = io.ErrUnexpectedEOF // the length is known: it was cut
		}
		if n > 0 && err != io.EOF {
			if err != nil {
				b.drop()
			}
			return true, nil
		}
		if err != nil && err != io.EOF {
			b.drop()
		}
		return false, err
	})
	return n, err
}

// Close ends the download. It may be called while another goroutine reads.
func (b *download) Close() error {
	b.cancel()
	return nil
}
