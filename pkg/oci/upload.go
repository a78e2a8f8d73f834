package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// send makes a request and refuses answers other than those wanted. The caller
// closes the body.
func (r *remoteRepo) send(req *http.Request, wanted ...int) (*http.Response, error) {
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := refusal(resp, wanted...); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// has asks whether the repository has a blob.
func (r *remoteRepo) has(ctx context.Context, d v1.Descriptor) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, r.base+"/blobs/"+d.Digest.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := r.send(req, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, resp.Body.Close()
}

// upload is a blob on its way into a repository.
type upload struct {
	*remoteRepo
	d         v1.Descriptor
	from      blobs
	mountFrom string      // a repository of the registry that may have the blob
	progress  func(n int) // takes negative numbers for what is sent anew
	location  string      // where the registry takes it; "" before it said so
	sent      int64       // what progress was told
	arrived   int64       // what the registry was seen to have
}

// put brings a blob into the repository, unless it is there.
func (r *remoteRepo) put(ctx context.Context, from blobs, d v1.Descriptor, mountFrom string, progress func(n int)) error {
	u := &upload{remoteRepo: r, d: d, from: from, mountFrom: mountFrom, progress: progress}
	return r.again(ctx, "pushing to "+r.host, func() (bool, error) { return u.try(ctx) })
}

// try does what is still to be done, and tells whether the registry has got more
// since it was last asked.
func (u *upload) try(ctx context.Context) (gotOn bool, err error) {
	there, err := u.has(ctx, u.d)
	if err != nil {
		return false, err
	}
	if there {
		u.tell(u.d.Size)
		return true, nil
	}
	before := u.arrived
	if err := u.resume(ctx); err != nil {
		return false, err
	}
	if u.location == "" {
		if done, err := u.begin(ctx); done || err != nil {
			return done, err
		}
	}
	gotOn = u.arrived > before
	if err := u.patch(ctx); err != nil {
		return gotOn, err
	}
	return gotOn, u.finish(ctx)
}

// tell says how much of the blob has been sent.
func (u *upload) tell(sent int64) {
	u.progress(int(sent - u.sent))
	u.sent = sent
}

// resume asks what the registry has of a blob whose sending was interrupted. One
// that does not tell gets it anew.
func (u *upload) resume(ctx context.Context) error {
	if u.location == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.location, nil)
	if err != nil {
		return err
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	arrived := received(resp.Header.Get("Range"))
	if (resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusOK) || arrived <= 0 || arrived > u.d.Size {
		u.location, u.arrived = "", 0
		return nil
	}
	u.arrived = arrived
	return u.follow(resp)
}

// received reads the header Range of an upload, "0-499": 500 bytes. "0-0" may mean
// nothing or one byte, and is taken for nothing.
func received(header string) int64 {
	first, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || n <= 0 || n == 1<<63-1 {
		return 0
	}
	return n + 1
}

// follow takes over where the registry wants the rest.
func (u *upload) follow(resp *http.Response) error {
	header := resp.Header.Get("Location")
	if header == "" && u.location != "" {
		return nil
	}
	next, err := resp.Request.URL.Parse(header)
	if err != nil || header == "" {
		return fmt.Errorf("registry %s does not say where to put blob %s", u.host, u.d.Digest)
	}
	u.location = next.String()
	return nil
}

// begin asks for a place for the blob, or for it to be taken over from another
// repository.
func (u *upload) begin(ctx context.Context) (mounted bool, err error) {
	address := u.base + "/blobs/uploads/"
	if u.mountFrom != "" {
		address += "?" + url.Values{"mount": {u.d.Digest.String()}, "from": {u.mountFrom}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return false, err
	}
	resp, err := u.send(req, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusCreated && u.mountFrom != "" {
		u.tell(u.d.Size)
		return true, nil
	}
	u.arrived = 0
	return false, u.follow(resp)
}

// patch sends what the registry does not have.
func (u *upload) patch(ctx context.Context) error {
	u.tell(u.arrived)
	if u.arrived == u.d.Size && u.arrived > 0 {
		return nil
	}
	rc, err := openFrom(u.from, u.d, u.arrived)
	if err != nil {
		return &localError{err}
	}
	defer rc.Close()
	body := &outgoing{from: rc, told: func(n int) { u.tell(u.sent + int64(n)) }}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.location, io.NopCloser(body))
	if err != nil {
		return err
	}
	req.ContentLength = u.d.Size - u.arrived
	if req.ContentLength == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if u.arrived > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.arrived, u.d.Size-1))
	}
	resp, err := u.send(req, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if body.err != nil {
		return errors.Join(&localError{body.err}, err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return u.follow(resp)
}

// outgoing keeps apart what fails in reading from what fails in sending. The
// client has done with it when the answer is there.
type outgoing struct {
	from io.Reader
	told func(n int)
	err  error
}

func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.from.Read(p)
	o.told(n)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// openFrom opens a blob at an offset. From its beginning on it is checked; of the
// rest of one the registry tells whether it fits.
func openFrom(from blobs, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset == 0 {
		return openBlob(from, d)
	}
	if p, ok := placeOf(from, d); ok {
		f, part, err := p.open()
		if err != nil {
			return nil, err
		}
		return section{io.NewSectionReader(part, offset, d.Size-offset), f}, nil
	}
	rc, err := from.open(d)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, rc, offset); err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return section{io.LimitReader(rc, d.Size-offset), rc}, nil
}

// finish lets the registry check the blob and keep it.
func (u *upload) finish(ctx context.Context) error {
	address, err := url.Parse(u.location)
	if err != nil {
		return err
	}
	query := address.Query()
	query.Set("digest", u.d.Digest.String())
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address.String(), nil)
	if err != nil {
		return err
	}
	resp, err := u.send(req, http.StatusCreated)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// putManifest names a manifest, by a tag or its digest. All that it speaks of must
// be there.
func (r *remoteRepo) putManifest(ctx context.Context, d v1.Descriptor, raw []byte, as string) error {
	return r.again(ctx, "pushing to "+r.host, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.base+"/manifests/"+as, bytes.NewReader(raw))
		if err != nil {
			return false, err
		}
		media := d.MediaType
		if media == "" {
			media = types.OCIManifestSchema1
		}
		req.Header.Set("Content-Type", string(media))
		resp, err := r.send(req, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return false, err
		}
		if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != d.Digest.String() {
			return false, errors.Join(fmt.Errorf("registry %s keeps the manifest as %s, not as %s: it changed it", r.host, got, d.Digest), resp.Body.Close())
		}
		return false, resp.Body.Close()
	})
}
