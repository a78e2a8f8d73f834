package qcow2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is what a frame may ask for; the format's own specification
// recommends that every reader supports it.
const maxZstdWindow = 8 << 20

// decompressor fills clusters from their compressed form. What follows that
// form in the last sector belongs to another cluster and is left alone.
type decompressor struct {
	kind Compression
	idle sync.Pool // of decoder
}

// decoder is one goroutine's. Decode reads from packed until cluster is full.
type decoder interface {
	decode(cluster, packed []byte) error
}

func (d *decompressor) decompress(cluster, packed []byte) error {
	dec, _ := d.idle.Get().(decoder)
	if dec == nil {
		var err error
		if dec, err = newDecoder(d.kind); err != nil {
			return fmt.Errorf("internal error: %w", err)
		}
	}
	err := dec.decode(cluster, packed)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	d.idle.Put(dec)
	return err
}

func newDecoder(kind Compression) (decoder, error) {
	if kind != Zstd {
		return &inflater{flate.NewReader(nil)}, nil
	}
	r, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow))
	return &unzstd{r}, err
}

type inflater struct{ r io.ReadCloser }

func (i *inflater) decode(cluster, packed []byte) error {
	if err := i.r.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil {
		return err
	}
	_, err := io.ReadFull(i.r, cluster)
	return err
}

type unzstd struct{ r *zstd.Decoder }

func (u *unzstd) decode(cluster, packed []byte) error {
	if err := u.r.Reset(bytes.NewReader(packed)); err != nil {
		return err
	}
	_, err := io.ReadFull(u.r, cluster)
	return err
}
