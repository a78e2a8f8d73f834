package oci

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
)

func TestTheUppermostRootDirectoryHolds(t *testing.T) {
	bare := tarOf(t, item{name: "etc/"}, item{name: "etc/a", content: "x"})
	low := bytes.Replace(tarOf(t, item{name: "./"}, item{name: "etc/a", content: "x"}), []byte("000755"), []byte("000700"), 1)
	low = withSum(low)
	high := tarOf(t, item{name: "./"}, item{name: "b"})
	for _, c := range []struct {
		what   string
		layers []stored
		mode   uint32
	}{
		{"none lists it", []stored{plain(bare), gzipped(t, bare)}, 0o755},
		{"below", []stored{gzipped(t, low), chunked(t, bare)}, 0o700},
		{"above", []stored{plain(low), chunked(t, high), plain(bare)}, 0o755},
		{"the same, turned", []stored{gzipped(t, high), chunked(t, low)}, 0o700},
	} {
		base := &Base{name: "thing", image: opened(t, "oci:"+layoutOf(t, c.layers...))}
		root, err := base.Root(bg)
		if err != nil || root.Mode != tree.TypeDir|c.mode {
			t.Errorf("%s: %+v, %v", c.what, root, err)
		}
		whole, files, err := base.image.Tree(bg, t.TempDir(), TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if whole.Root.Inode.Mode != root.Mode {
			t.Errorf("%s: the tree says %o", c.what, whole.Root.Inode.Mode)
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
	base := &Base{name: "thing", image: opened(t, "oci:"+layoutOf(t, plain(bare[:300])))}
	_, err := base.Root(bg)
	wantError(t, err, "cannot read the root directory of image thing: layer sha256:")
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := base.Root(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// withSum mends the checksum of a tar's first header.
func withSum(b []byte) []byte {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	return b
}
