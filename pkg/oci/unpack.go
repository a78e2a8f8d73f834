package oci

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// unpackings is how many layers are unpacked at a time.
const unpackings = 2

// unusedTars is how long a tar is kept that no image of the folder uses.
const unusedTars = 30 * 24 * time.Hour

// defaultUnpacked bounds what the layers of one image unpack to.
const defaultUnpacked = 256 << 30

// Tars unpacks the image's layers into a folder, each into a file named by its
// diff ID, and gives the files' paths, lowest layer first. A file that is there is
// taken as it is: it got its name only after its content was checked. Those that
// were not used for thirty days are removed.
func (i *Image) Tars(ctx context.Context, dir string) ([]string, error) {
	if err := i.unpackAll(ctx, dir, slices.Collect(i.distinct()), defaultUnpacked, func(int) {}); err != nil {
		return nil, err
	}
	var out []string
	for _, diffID := range i.config.RootFS.DiffIDs {
		out = append(out, tarName(dir, diffID))
	}
	return out, nil
}

func tarName(dir string, diffID v1.Hash) string { return filepath.Join(dir, diffID.Hex+".tar") }

// distinct yields the numbers of the layers but those whose tar another has.
func (i *Image) distinct() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		seen := map[v1.Hash]bool{}
		for n, diffID := range i.config.RootFS.DiffIDs {
			if !seen[diffID] && !yield(n) {
				return
			}
			seen[diffID] = true
		}
	}
}

// unpackAll unpacks some layers into a folder, unless they are there. tell is
// told of the bytes that were read of them as they are stored.
func (i *Image) unpackAll(ctx context.Context, dir string, layers []int, limit int64, tell func(int)) error {
	if len(layers) == 0 {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = errors.Join(sweep(dir, dir), forget(dir, time.Now().Add(-unusedTars)))
	}
	if err != nil {
		return fmt.Errorf("cannot unpack layers: %w", err)
	}
	left := &allowance{left: limit, limit: limit}
	return each(ctx, unpackings, layers, func(ctx context.Context, n int) error {
		d, file := i.manifest.Layers[n], tarName(dir, i.config.RootFS.DiffIDs[n])
		there, err := used(file)
		if there {
			tell(int(d.Size))
			return nil
		}
		if err == nil {
			err = i.unpack(ctx, n, file, left, tell)
		}
		if err != nil {
			return fmt.Errorf("cannot unpack layer %s: %w", d.Digest, err)
		}
		return nil
	})
}

// used says whether a tar is there, and that it is used now.
func used(file string) (there bool, err error) {
	err = locked(filepath.Dir(file), func() error {
		st, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
			return nil
		}
		there = err == nil
		now := time.Now()
		_ = os.Chtimes(file, now, now) // a cache that is only read forgets nothing
		return err
	})
	return there, err
}

// forget removes the tars of a folder that were last used before a time.
func forget(dir string, before time.Time) error {
	return locked(dir, func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if err == nil && isTar(e) && lastUsed(e).Before(before) {
				err = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
		return err
	})
}

// isTar says whether a file has the name of a layer's tar.
func isTar(e fs.DirEntry) bool {
	_, err := v1.NewHash("sha256:" + strings.TrimSuffix(e.Name(), ".tar"))
	return err == nil && e.Type().IsRegular()
}

// lastUsed is now for what is no longer there.
func lastUsed(e fs.DirEntry) time.Time {
	st, err := e.Info()
	if err != nil {
		return time.Now()
	}
	return st.ModTime()
}

// unpack unpacks a layer into a file. Its digest and that of its tar are checked
// on the way; the file reaches the disk before it gets its name.
func (i *Image) unpack(ctx context.Context, n int, file string, left *allowance, tell func(int)) error {
	rc, err := openBlob(i.from, i.manifest.Layers[n])
	if err != nil {
		return err
	}
	// A read that waits for the network ends when it is closed beneath it.
	defer context.AfterFunc(ctx, func() { rc.Close() })()
	defer rc.Close()
	stored := io.TeeReader(until{ctx, rc}, counted{io.Discard, tell})
	plain, err := decompress(stored)
	if err != nil {
		return err
	}
	defer func() {
		rc.Close() // or plain would wait for what it reads
		plain.Close()
	}()
	dir := filepath.Dir(file)
	f, err := createPartial(dir, dir)
	if err != nil {
		return err
	}
	defer f.Close() // after the rename, as closing ends the lock; f is written by then
	diff := newSum()
	_, err = io.Copy(io.MultiWriter(f, diff, left), plain)
	if err == nil {
		// What is compressed may end before the blob does, whose end is checked.
		_, err = io.Copy(io.Discard, stored)
	}
	if want := i.config.RootFS.DiffIDs[n]; err == nil && diff.digest() != want {
		err = fmt.Errorf("its tar has the digest %s, but the image's config says %s", diff.digest(), want)
	}
	if err == nil {
		err = f.Sync()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return finish(f, err, file)
}

// tar opens the tar of a layer, unchecked by its diff ID.
func (i *Image) tar(n int) (io.ReadCloser, error) {
	rc, err := openBlob(i.from, i.manifest.Layers[n])
	if err != nil {
		return nil, err
	}
	plain, err := decompress(rc)
	if err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return unpacked{plain, rc}, nil
}

type unpacked struct {
	io.ReadCloser
	stored io.Closer
}

func (u unpacked) Close() error { return errors.Join(u.stored.Close(), u.ReadCloser.Close()) }

// until is a reader that refuses once ctx has ended.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// The first bytes of what compressors write.
const (
	magicGzip  = "\x1f\x8b"
	magicZstd  = "\x28\xb5\x2f\xfd"
	magicSkip  = "\x2a\x4d\x18" // from the second byte on: a frame for zstd to skip
	magicXz    = "\xfd7zXZ\x00"
	magicBzip2 = "BZh"
)

// maxWindow bounds the memory that a zstd frame may ask for. The zstd command
// has the same limit.
const maxWindow = 128 << 20

// decompress gives the tar in a layer. Its first bytes tell how it is packed:
// media types are not always right.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	head, err := b.Peek(len(magicXz))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	is := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case is(magicGzip):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return readAhead(z), nil
	case isZstd(head):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case is(magicXz):
		return nil, errors.New("it is compressed by xz, which images are not")
	case is(magicBzip2):
		return nil, errors.New("it is compressed by bzip2, which images are not")
	}
	return io.NopCloser(b), nil
}

func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte(magicZstd)) ||
		len(head) > 3 && head[0]&0xf0 == 0x50 && bytes.HasPrefix(head[1:], []byte(magicSkip))
}

// isPlain tells whether a blob's first bytes are those of no compressor.
func isPlain(head []byte) bool {
	for _, magic := range []string{magicGzip, magicXz, magicBzip2} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return false
		}
	}
	return !isZstd(head)
}
