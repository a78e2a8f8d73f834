package vhd_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhd"
)

func TestOptionsAreReadAsQemuImgTakesThem(t *testing.T) {
	for s, want := range map[string]vhd.Options{
		"":                                  {},
		"subformat=dynamic":                 {},
		"subformat=fixed":                   {Fixed: true},
		"subformat=fixed,force_size=on":     {Fixed: true},
		"force_size=off":                    {CHS: true},
		"force_size=no,force_size=yes":      {}, // the last one counts
		"subformat=fixed,subformat=dynamic": {},
	} {
		got, err := vhd.ParseOptions(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if got.Fixed != want.Fixed || got.CHS != want.CHS {
			t.Errorf("%q gave %+v, want %+v", s, got, want)
		}
		path := write(t, formattest.Disk(12<<20), got)
		if i := open(t, path).Info; (i.Type == "fixed") != want.Fixed || (i.Size != 12<<20) != want.CHS {
			t.Errorf("%q gave %+v", s, i)
		}
	}
}

func TestUnknownAndImpossibleOptionsAreRefusedByName(t *testing.T) {
	for _, s := range []string{"subformat=sparse", "subformat", "force_size=", "force_size=maybe", "size=10G",
		"cluster_size=64k", "a,,b=c", "backing_file=x"} {
		_, err := vhd.ParseOptions(s)
		name, _, _ := strings.Cut(strings.ReplaceAll(s, ",,", ","), "=")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"subformat=fixed,force_size=on", "a,,b=c", ",,,", "=,="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := vhd.ParseOptions(s); err == nil && strings.Contains(s, "size=10") && !o.Fixed {
			t.Errorf("%q gave %+v", s, o)
		}
	})
}
