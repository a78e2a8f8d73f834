package qcow2_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/qcow2"
)

func TestOptionsAreReadAsQemuImgTakesThem(t *testing.T) {
	for s, want := range map[string]qcow2.Options{
		"":                       {},
		"compat=0.10":            {Version: 2},
		"compat=v2":              {Version: 2},
		"compat=1.1":             {Version: 3},
		"compat=v3,compat=0.10":  {Version: 2}, // the last one counts
		"cluster_size=64k":       {ClusterBits: 16},
		"cluster_size=65536":     {ClusterBits: 16},
		"cluster_size=2M":        {ClusterBits: 21},
		"cluster_size=512b":      {ClusterBits: 9},
		"lazy_refcounts=on":      {LazyRefcounts: true},
		"lazy_refcounts=off":     {},
		"refcount_bits=64":       {RefcountBits: 64},
		"preallocation=off":      {},
		"preallocation=metadata": {Preallocate: true},
		"preallocation=metadata,compression_type=zstd": {Preallocate: true, Compression: qcow2.Zstd},
		"compression_type=zlib":                        {Compression: qcow2.Zlib},
		"compression_type=zstd":                        {Compression: qcow2.Zstd},
		"encryption=off,nocow=no":                      {},
		"compat=1.1,refcount_bits=8":                   {Version: 3, RefcountBits: 8},
		"compat=0.10,lazy_refcounts=off":               {Version: 2},
		"lazy_refcounts=yes,cluster_size=1024":         {LazyRefcounts: true, ClusterBits: 10},
	} {
		got, err := qcow2.ParseOptions(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if got.Version != want.Version || got.ClusterBits != want.ClusterBits || got.RefcountBits != want.RefcountBits ||
			got.LazyRefcounts != want.LazyRefcounts || got.Preallocate != want.Preallocate || got.Compression != want.Compression {
			t.Errorf("%q gave %+v, want %+v", s, got, want)
		}
	}
}

func TestUnknownAndImpossibleOptionsAreRefusedByName(t *testing.T) {
	for _, s := range []string{
		"compat=2", "compat", "cluster_size=", "cluster_size=k", "cluster_size=3k", "cluster_size=4M",
		"cluster_size=18446744073709551615k", "cluster_size=-512", "lazy_refcounts=maybe", "refcount_bits=3",
		"refcount_bits=x", "refcount_bits=0", "preallocation=falloc", "preallocation=full", "preallocation=some",
		"compression_type=lzma", "size=10G", "backing_file=/etc/passwd", "backing_fmt=raw", "data_file=x",
		"data_file_raw=on", "encryption=on", "encrypt.format=luks", "extended_l2=on", "subformat=fixed", "=", "a,,b=1",
	} {
		_, err := qcow2.ParseOptions(s)
		name, _, _ := strings.Cut(strings.ReplaceAll(s, ",,", ","), "=")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
	for _, s := range []string{"compat=0.10,compression_type=zstd", "compat=0.10,lazy_refcounts=on", "refcount_bits=1,compat=v2",
		",", "compat=1.1,,"} {
		if _, err := qcow2.ParseOptions(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"compat=0.10,cluster_size=64k", "a,,b=c", "refcount_bits=16", ",,,", "=,=", "cluster_size=\xffE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := qcow2.ParseOptions(s)
		if err != nil {
			return
		}
		if o.ClusterBits != 0 && (o.ClusterBits < 9 || o.ClusterBits > 21) {
			t.Errorf("%q gave %+v", s, o)
		}
	})
}
