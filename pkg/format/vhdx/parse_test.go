package vhdx_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
)

func TestOptionsAreReadAsQemuImgTakesThem(t *testing.T) {
	for s, want := range map[string]vhdx.Options{
		"":                                {},
		"subformat=dynamic":               {},
		"subformat=fixed":                 {Fixed: true},
		"subformat=fixed,block_size=2M":   {Fixed: true, BlockSize: 2 << 20},
		"block_size=0":                    {},
		"block_size=268435456":            {BlockSize: 256 << 20},
		"block_size=1024k,block_size=32M": {BlockSize: 32 << 20}, // the last one counts
		"log_size=4M":                     {LogSize: 4 << 20},
		"block_state_zero=off":            {NotPresent: true},
		"block_state_zero=on":             {},
	} {
		got, err := vhdx.ParseOptions(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if got.Fixed != want.Fixed || got.BlockSize != want.BlockSize || got.LogSize != want.LogSize || got.NotPresent != want.NotPresent {
			t.Errorf("%q gave %+v, want %+v", s, got, want)
		}
		path := write(t, formattest.Disk(12<<20), got)
		i := open(t, path).Info
		if i.BlockSize != max(want.BlockSize, 8<<20) && i.BlockSize != want.BlockSize || (i.Type == "fixed") != want.Fixed {
			t.Errorf("%q gave %+v", s, i)
		}
		if n := info(t, path).ClusterSize; n != i.BlockSize {
			t.Errorf("%q: qemu-img sees blocks of %d bytes", s, n)
		}
	}
}

func TestUnknownAndImpossibleOptionsAreRefusedByName(t *testing.T) {
	for _, s := range []string{"subformat=sparse", "subformat", "block_size=", "block_size=3M", "block_size=512k", "block_size=512M",
		"block_size=9223372036854775807k", "block_size=-1", "log_size=1000", "log_size=4G", "log_size=x", "block_state_zero=maybe",
		"size=10G", "cluster_size=64k", "a,,b=c"} {
		_, err := vhdx.ParseOptions(s)
		name, _, _ := strings.Cut(strings.ReplaceAll(s, ",,", ","), "=")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"subformat=fixed,block_size=1M", "a,,b=c", ",,,", "=,=", "log_size=\xffE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := vhdx.ParseOptions(s); err == nil && o.Check() != nil {
			t.Errorf("%q gave %+v", s, o)
		}
	})
}
