package fat

import (
	"slices"
	"strings"
	"testing"
)

func TestShortNamesAreMadeAsTheSpecificationSays(t *testing.T) {
	names := []string{"README", "readme.txt", "The quick brown.fox", "the quick brow.fox", "a.tar.gz", ".bashrc", "x+y", "TOOLONGNAME", "日本"}
	got, err := nameEntries(names)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"README     ", "README  TXT", "THEQUI~1FOX", "THEQUI~2FOX", "ATAR~1  GZ ", "BASHRC~1   ", "X_Y~1      ", "TOOLON~1   ", "__~1       ",
	} {
		if string(got[i].short[:]) != want {
			t.Errorf("%s became %q, want %q", names[i], got[i].short[:], want)
		}
	}
	if got[0].long != nil {
		t.Error("README has a long name that says nothing more")
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a/b/c")
	f.Add("The quick/the quick brown/THEQUI~1")
	f.Add("+/;/=/[")
	f.Fuzz(func(t *testing.T, joined string) {
		names := strings.Split(joined, "/")
		if slices.Contains(names, "") || len(names) > 1000 {
			return
		}
		slices.Sort(names)
		out, err := nameEntries(names)
		if err != nil {
			return
		}
		seen := map[[11]byte]bool{}
		for i, n := range out {
			if seen[n.short] {
				t.Errorf("two entries are called %q", n.short)
			}
			seen[n.short] = true
			if n.short[0] == ' ' || n.short[0] == 0 || n.short[0] == '.' {
				t.Errorf("%q became %q", names[i], n.short)
			}
			for _, c := range n.short {
				if c < ' ' || c > '~' || c >= 'a' && c <= 'z' || strings.ContainsRune(`"*+,./:;<=>?[\]|`, rune(c)) {
					t.Errorf("%q became %q", names[i], n.short)
				}
			}
		}
	})
}
