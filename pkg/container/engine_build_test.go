//go:build containers_image_openpgp

package container

import (
	"bytes"
	"testing"
)

func TestAListenerHearsAWordInPieces(t *testing.T) {
	for _, c := range []struct {
		writes []string
		it     bool
	}{
		{[]string{"a word is said"}, true},
		{[]string{"a w", "or", "d"}, true},
		{[]string{"w", "o", "r", "d", " and more"}, true},
		{[]string{"a wor", "ld"}, false},
		{[]string{"wo", "", "rld, worl", "d, wor"}, false},
	} {
		var to bytes.Buffer
		l := &listener{to: &to, word: "word"}
		var all string
		for _, w := range c.writes {
			all += w
			if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
				t.Fatalf("%q: wrote %d, %v", w, n, err)
			}
		}
		if l.it != c.it || to.String() != all {
			t.Errorf("%q: heard %v, passed on %q", c.writes, l.it, &to)
		}
	}
}
