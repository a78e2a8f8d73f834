package vmdk_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vmdk"
)

func TestOptionsAreReadAsQemuImgTakesThem(t *testing.T) {
	for s, want := range map[string]vmdk.Options{
		"":                           {},
		"subformat=monolithicSparse": {},
		"subformat=streamOptimized":  {StreamOptimized: true},
		"subformat=streamOptimized,adapter_type=lsilogic": {StreamOptimized: true, AdapterType: "lsilogic"},
		"adapter_type=ide,adapter_type=buslogic":          {AdapterType: "buslogic"}, // the last one counts
		"adapter_type=legacyESX":                          {AdapterType: "legacyESX"},
		"hwversion=13":                                    {HWVersion: "13"},
		"toolsversion=0":                                  {ToolsVersion: "0"},
		"compat6=on":                                      {HWVersion: "6"},
		"compat6=off,hwversion=7":                         {HWVersion: "7"},
		"zeroed_grain=off":                                {},
	} {
		got, err := vmdk.ParseOptions(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if got.StreamOptimized != want.StreamOptimized || got.AdapterType != want.AdapterType ||
			got.HWVersion != want.HWVersion || got.ToolsVersion != want.ToolsVersion {
			t.Errorf("%q gave %+v, want %+v", s, got, want)
		}
		i := open(t, write(t, formattest.Disk(12<<20), got)).Info
		for found, want := range map[string]string{
			i.AdapterType: or(want.AdapterType, "ide"), i.HWVersion: or(want.HWVersion, "4"), i.ToolsVersion: or(want.ToolsVersion, "2147483647"),
		} {
			if found != want {
				t.Errorf("%q gave %+v", s, i)
			}
		}
	}
}

func or(s, usual string) string {
	if s == "" {
		return usual
	}
	return s
}

func TestUnknownAndImpossibleOptionsAreRefusedByName(t *testing.T) {
	for _, s := range []string{"subformat=sparse", "subformat", "subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse",
		"subformat=twoGbMaxExtentFlat", "adapter_type=pvscsi", "adapter_type=sata", "adapter_type=", "hwversion=x", "hwversion=",
		"toolsversion=1.2", "compat6=maybe", "zeroed_grain=on", "zeroed_grain=5", "size=10G", "backing_file=x", "backing_fmt=vmdk", "a,,b=c",
		"compat6=on,hwversion=7"} {
		_, err := vmdk.ParseOptions(s)
		name, _, _ := strings.Cut(strings.ReplaceAll(s, ",,", ","), "=")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"subformat=streamOptimized,compat6=on", "a,,b=c", ",,,", "=,=", "hwversion=1,adapter_type=ide"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := vmdk.ParseOptions(s); err == nil && o.Check() != nil {
			t.Errorf("%q gave %+v", s, o)
		}
	})
}
