package version

import (
	"strings"
	"testing"
)

// ordered are versions of PEP 440 in their order.
var ordered = []string{
	"1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2",
	"1.0b2.post345.dev456", "1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5",
	"1.0+abc.7", "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.0.15", "1.1.dev1",
	"99999999999999999999.1", "1!1.0.dev456", "1!1.0", "1!2.0",
}

func TestVersionsAreInTheirOrder(t *testing.T) {
	for i, a := range ordered {
		for j, b := range ordered {
			got := Compare(parse(t, a), parse(t, b))
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("Compare(%s, %s) = %d", a, b, got)
			}
		}
	}
}

func TestSpellingsOfOneVersionAreOne(t *testing.T) {
	for canonical, spellings := range map[string][]string{
		"1.0a1":          {"1.0-alpha.1", "1.0_A1", "v1.0a01", " 1.0a1 ", "1.0Alpha1"},
		"1.0rc1":         {"1.0c1", "1.0-pre1", "1.0.preview_1", "1.0RC1"},
		"1.0b0":          {"1.0b", "1.0-BETA"},
		"1.0.post1":      {"1.0-1", "1.0-r1", "1.0rev1", "1.0.post01", "1.0post-1"},
		"1.0.dev0":       {"1.0dev", "1.0-DEV", "1.0.dev00"},
		"1.0+ubuntu.1":   {"1.0+Ubuntu-1", "1.0+ubuntu_01"},
		"1!2.3":          {"01!02.03"},
		"1.0.post0.dev1": {"1.0.post.dev1"},
	} {
		for _, s := range spellings {
			if got := parse(t, s).String(); got != canonical {
				t.Errorf("%q is %s, not %s", s, got, canonical)
			}
		}
	}
	if Compare(parse(t, "1.0"), parse(t, "1.0.0.0")) != 0 {
		t.Error("trailing zeros count")
	}
}

func TestWhatIsNoVersionIsRefused(t *testing.T) {
	for _, s := range []string{"", "french toast", "1.0+a+", "1.0++", "1.0+_foobar", "1.0+foo&asd", "1.0.", ".1", "1..0", "1.0-", "1.0abc", "!1", "1!", "1.0\x00"} {
		if v, err := Parse(s); err == nil {
			t.Errorf("%q is taken for %s", s, v)
		}
	}
}

func TestSpecifiersTakeWhatPEP440Says(t *testing.T) {
	cases := []struct{ spec, takes, refuses string }{
		{"==1.1", "1.1 1.1.0 1.1+local", "1.1.post1 1.1.dev1 1.1a1"},
		{"==1.1+local", "1.1+local", "1.1 1.1+other"},
		{"==1.1.*", "1.1 1.1.post1 1.1a1 1.1.9 1.1+x", "1.10 1.2 1!1.1"},
		{"==2.*", "2 2.0a1 2.9", "20 3"},
		{"==1.1a1.*", "1.1a1 1.1a1.post1 1.1.0a1", "1.1a2 1.1 1.1.1a1"},
		{"==1.1.post1.*", "1.1.post1 1.1.post1.dev3", "1.1 1.1.post2"},
		{"!=1.1", "1.1.post1 1.0", "1.1 1.1.0 1.1+local"},
		{"!=1.1.*", "1.2 1.10", "1.1 1.1.post1 1.1.3"},
		{"~=2.2", "2.2 2.3 2.2.post1 2.99", "2.1 3.0 2.2rc1 3.0a1"},
		{"~=2.2.post3", "2.2.post3 2.3", "2.2 3.0 2.2.post2"},
		{"~=1.4.5a4", "1.4.5a4 1.4.5 1.4.9", "1.4.5a3 1.5"},
		{"~=1!2.2", "1!2.5", "2.5 1!3"},
		{">=1.7", "1.7 1.7.post1 2!0 1.7+x", "1.7rc1 1.6"},
		{">1.7", "1.7.1 1.8", "1.7 1.7.post1 1.7.0.post1 1.7+local 1.7rc1"},
		{">1.7.post2", "1.7.post3 1.7.1", "1.7.post2 1.7 1.7.post1"},
		{"<1.7", "1.6 1.6.post9 1.6rc1", "1.7 1.7rc1 1.7.dev1"},
		{"<1.7rc2", "1.7rc1 1.7.dev1", "1.7 1.7rc2"},
		{"<=1.7", "1.7 1.7rc1 1.7+local", "1.7.post1 1.8"},
		{"===1.0+x", "1.0+X", "1.0"},
		{">=1, !=1.5,<2 ,", "1.4 1.6", "1.5 2 0.9"},
		{"", "0 1a1", ""},
	}
	for _, c := range cases {
		spec, err := ParseSpecifiers(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range strings.Fields(c.takes) {
			if p, err := Parse(v); err == nil && !spec.Contains(p) {
				t.Errorf("%s does not take %s", c.spec, v)
			}
		}
		for _, v := range strings.Fields(c.refuses) {
			if spec.Contains(parse(t, v)) {
				t.Errorf("%s takes %s", c.spec, v)
			}
		}
	}
}

func TestSpecifiersWithoutMeaningAreRefused(t *testing.T) {
	for _, s := range []string{"1.0", "=1.0", "~=1", ">=1.*", "<1.0+local", "==1.0+a.*", "==1.0.dev1.*", "==", ">= 1.0 2.0", "~=1.0.*", "=>1"} {
		if spec, err := ParseSpecifiers(s); err == nil {
			t.Errorf("%q is taken for %s", s, spec)
		}
	}
}

func TestPinsAndPrereleasesAreSeen(t *testing.T) {
	for spec, want := range map[string][2]bool{
		"==1.0": {true, false}, "===x": {true, false}, "==1.*": {false, false}, ">=1.0rc1": {false, true},
		"==1.0.dev1": {true, true}, "<2.0b1": {false, false}, "": {false, false},
	} {
		l, err := ParseSpecifiers(spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{l.Exact(), l.Prereleases()}; got != want {
			t.Errorf("%q: %v, not %v", spec, got, want)
		}
	}
}

func parse(t *testing.T, s string) Version {
	t.Helper()
	v, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func FuzzVersion(f *testing.F) {
	for _, s := range ordered {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(v.String())
		if err != nil || Compare(v, again) != 0 || v.String() != again.String() {
			t.Errorf("%q became %s, that became %s: %v", s, v, again, err)
		}
	})
}

func FuzzSpecifiers(f *testing.F) {
	for _, s := range []string{"==1.*", "~=1.2", ">=1,<2", "===x", "!=1.0.post1.*"} {
		f.Add(s, "1.0")
	}
	f.Fuzz(func(t *testing.T, spec, text string) {
		l, err := ParseSpecifiers(spec)
		if err != nil {
			return
		}
		if _, err := ParseSpecifiers(l.String()); err != nil {
			t.Errorf("%q became %q: %v", spec, l, err)
		}
		if v, err := Parse(text); err == nil {
			l.Contains(v)
		}
	})
}
