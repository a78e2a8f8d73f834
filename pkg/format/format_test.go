package format_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func write(t *testing.T, name string, o format.Options) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img := sparse.Bytes(disk())
	if err := format.Write(context.Background(), name, f, img, o); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestEveryKnownFormatIsWritten(t *testing.T) {
	for _, name := range format.Known() {
		if b, err := os.ReadFile(write(t, name, format.Options{})); err != nil || len(b) < 100 {
			t.Errorf("%s gave %d bytes, %v", name, len(b), err)
		}
	}
}

// disk is what write writes.
func disk() []byte { return []byte(strings.Repeat("much of the same ", 60_000)) }

func TestCompressionIsWhatOptionsAndSettingsSay(t *testing.T) {
	for _, c := range []struct {
		o          format.Options
		method     string
		compressed bool
	}{
		{format.Options{}, "zlib", true},
		{format.Options{Compression: format.None}, "zlib", false},
		{format.Options{Compression: format.Zstd}, "zstd", true},
		{format.Options{Settings: "compression_type=zstd"}, "zstd", true},
		{format.Options{Compression: format.Zlib, Settings: "compression_type=zlib,cluster_size=4k"}, "zlib", true},
		{format.Options{Compression: format.None, Settings: "compression_type=zstd,preallocation=metadata"}, "zlib", false},
	} {
		path := write(t, format.QCOW2, c.o)
		out, err := judge.Output(t, "qemu-img", "info", "--output=json", path)
		if err != nil || !strings.Contains(string(out), `"compression-type": "`+c.method+`"`) {
			t.Errorf("%+v: want %s, qemu-img info says %v\n%s", c.o, c.method, err, out)
		}
		if out, err = judge.Output(t, "qemu-img", "check", "--output=json", path); err != nil {
			t.Fatalf("%+v: %v\n%s", c.o, err, out)
		}
		var check struct {
			Compressed int `json:"compressed-clusters"`
		}
		if err := json.Unmarshal(out, &check); err != nil {
			t.Fatal(err)
		}
		if (check.Compressed > 0) != c.compressed {
			t.Errorf("%+v: %d compressed clusters", c.o, check.Compressed)
		}
	}
}

func TestWhatCannotBeWrittenIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name string
		o    format.Options
		want string
	}{
		{"vmdx", format.Options{}, `"vmdx"`},
		{"vdi", format.Options{Settings: "compat=0.10"}, "compat"},
		{"vpc", format.Options{Settings: "subformat=thick"}, "subformat"},
		{"vhdx", format.Options{Settings: "cluster_size=4k"}, "cluster_size"},
		{"vmdk", format.Options{Settings: "subformat=dynamic"}, "subformat"},
		{"qcow2", format.Options{Compression: "lzma"}, `"lzma"`},
		{"qcow2", format.Options{Settings: "size=4"}, `"size=4"`},
		{"qcow2", format.Options{Compression: format.Zlib, Settings: "compression_type=zstd"}, "say otherwise"},
		{"qcow2", format.Options{Compression: format.Zstd, Settings: "compat=0.10"}, "compat=1.1"},
		{"qcow2", format.Options{Settings: "preallocation=metadata"}, "exclude each other"},
	} {
		err := format.Check(c.name, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: the error is %v, want one with %s", c.name, c.o, err, c.want)
		}
		if werr := format.Write(context.Background(), c.name, nil, sparse.Zero(0), c.o); werr == nil || err == nil || werr.Error() != err.Error() {
			t.Errorf("%s %+v: writing gives %v and checking %v", c.name, c.o, werr, err)
		}
	}
}
