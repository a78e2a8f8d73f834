package layer_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree/layer"
)

func TestTheFirstEntryTellsOfTheRoot(t *testing.T) {
	global := item{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "x"}}, ""}
	for _, c := range []struct {
		what  string
		items []item
		mode  uint32 // 0: the layer says nothing
	}{
		{"./", []item{dir("."), file("x", "")}, 0o40750},
		{"/", []item{dir("")}, 0o40750},
		{"behind a global header", []item{global, dir(".")}, 0o40750},
		{"another entry", []item{dir("etc"), dir(".")}, 0},
		{"no directory", []item{file(".wh.x", "")}, 0},
		{"nothing", nil, 0},
	} {
		got, err := layer.Root(bytes.NewReader(tarOf(t, c.items...)))
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.what, err)
		case (got == nil) != (c.mode == 0):
			t.Errorf("%s: got %+v", c.what, got)
		case got != nil && (got.Mode != c.mode || got.UID != 1):
			t.Errorf("%s: %o of %d", c.what, got.Mode, got.UID)
		}
	}
	if _, err := layer.Root(bytes.NewReader(make([]byte, 100))); err == nil {
		t.Error("a header cut short is taken")
	}
}
