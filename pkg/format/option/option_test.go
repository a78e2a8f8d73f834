package option_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/option"
)

func TestOptionsComeInOrderAndKeepTheirCommas(t *testing.T) {
	for s, want := range map[string]string{
		"":              "",
		"a=1,b=2,a=3":   "a=1;b=2;a=3",
		"a=1,,2,b=":     "a=1,2;b=",
		"a=1,":          "a=1",
		"a=b=c,,,d=,,e": "a=b=c,;d=,e",
		",,=,,":         ",=,",
	} {
		var got []string
		err := option.Parse("x", s, func(name, value string) error {
			got = append(got, name+"="+value)
			return nil
		})
		if err != nil || strings.Join(got, ";") != want {
			t.Errorf("%q gave %q, %v", s, got, err)
		}
	}
}

func TestAnErrorNamesFormatAndOption(t *testing.T) {
	for s, want := range map[string]string{
		"a":     `cannot use qcow2 option "a": it has no value, write a=VALUE`,
		",":     `cannot use qcow2 option "": it has no value, write =VALUE`,
		"a=1,b": `cannot use qcow2 option "a=1": reason`,
	} {
		err := option.Parse("qcow2", s, func(string, string) error { return errors.New("reason") })
		if fmt.Sprint(err) != want {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
}

func TestSwitchesAreOnOrOff(t *testing.T) {
	for _, value := range []string{"on", "yes", "true", "y", "off", "no", "false", "n"} {
		if on, err := option.Switch(value); err != nil || on != slices.Contains([]string{"on", "yes", "true", "y"}, value) {
			t.Errorf("%q is %v, %v", value, on, err)
		}
	}
	for _, value := range []string{"", "1", "On", "maybe"} {
		if _, err := option.Switch(value); err == nil {
			t.Errorf("%q was taken", value)
		}
	}
}

func TestSizesHaveSuffixesAndABound(t *testing.T) {
	for value, want := range map[string]uint64{
		"0": 0, "65536": 65536, "64k": 65536, "64K": 65536, "512b": 512, "1M": 1 << 20, "15e": 15 << 60,
		"18446744073709551615": 1<<64 - 1,
	} {
		if n, ok := option.Size(value); !ok || n != want {
			t.Errorf("%q is %d, %v", value, n, ok)
		}
	}
	for _, value := range []string{"", "k", "-1", "+1", "1x", "1kk", "0x10", "16e", "18446744073709551615k", "18446744073709551616"} {
		if n, ok := option.Size(value); ok {
			t.Errorf("%q was taken as %d", value, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"compat=0.10,cluster_size=64k", "a,,b=c", ",,,", "=,=", "size=\xffE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		length := 0
		err := option.Parse("x", s, func(name, value string) error {
			length += len(name) + 1 + len(value)
			_, _ = option.Size(value)
			return nil
		})
		if err == nil && length > len(s) {
			t.Errorf("%q gave %d bytes of options", s, length)
		}
	})
}
