package fat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxName is the longest long name in UTF-16 code units.
const maxName = 255

// name is how an entry of a directory is called on disk.
type name struct {
	short [11]byte // base and extension, padded with blanks
	long  []uint16 // UTF-16; nil where short says it all
}

// slots counts the directory entries the name takes.
func (n name) slots() int64 {
	return 1 + ceil(int64(len(n.long)), charsPerSlot)
}

// nameEntries gives the names on disk for the entries of one directory, which
// it takes in order: an entry's short alias depends on those before it.
func nameEntries(names []string) ([]name, error) {
	out := make([]name, len(names))
	spelled := map[string]string{} // by folded name
	taken := map[[11]byte]bool{}
	exact := make([]bool, len(names))
	for i, s := range names {
		if err := checkName(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		folded := strings.Map(fold, s)
		if other, clash := spelled[folded]; clash {
			return nil, fmt.Errorf("%s: FAT does not tell it from %s", s, other)
		}
		spelled[folded] = s
		out[i].short, exact[i] = shortName(s)
		if exact[i] {
			taken[out[i].short] = true
		}
		if !exact[i] || s != strings.ToUpper(s) {
			out[i].long = utf16.Encode([]rune(s))
		}
	}
	next := map[[11]byte]int{}
	for i := range out {
		if !exact[i] {
			out[i].short = alias(out[i].short, taken, next)
			taken[out[i].short] = true
		}
	}
	return out, nil
}

// checkName refuses what a long name cannot be.
func checkName(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("its name is not UTF-8, and FAT names are Unicode")
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("FAT names cannot hold %q", r)
		}
	}
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") {
		return errors.New("FAT names cannot end with a dot or a blank")
	}
	if len(utf16.Encode([]rune(s))) > maxName {
		return fmt.Errorf("FAT names have at most %d characters", maxName)
	}
	return nil
}

// fold maps the letters that differ in case alone to one of them.
func fold(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// shortName makes an 8.3 name, fatgen103's "basis name". It is exact when
// nothing but the case of letters was lost.
func shortName(s string) (short [11]byte, exact bool) {
	kept := strings.TrimLeft(strings.ReplaceAll(s, " ", ""), ".")
	exact = kept == s
	base, extension := kept, ""
	if dot := strings.LastIndexByte(kept, '.'); dot >= 0 {
		base, extension = kept[:dot], kept[dot+1:]
	}
	copy(short[:], "           ")
	for _, part := range []struct {
		to   []byte
		from string
	}{{short[:8], base}, {short[8:], extension}} {
		n := 0
		for _, r := range part.from {
			c, same := shortChar(r)
			if !same || n == len(part.to) {
				exact = false
			}
			if c != 0 && n < len(part.to) {
				part.to[n] = c
				n++
			}
		}
	}
	return short, exact
}

// shortChar gives a character as a short name may hold it, 0 for none.
func shortChar(r rune) (c byte, same bool) {
	switch {
	case r == '.':
		return 0, false
	case r >= 'a' && r <= 'z':
		return byte(r) - 'a' + 'A', true
	case r > '~' || strings.ContainsRune("+,;=[]", r):
		return '_', false
	}
	return byte(r), true
}

// alias gives a name that is not taken yet by ending the base with a number.
// next holds, for each basis, the number to try first.
func alias(basis [11]byte, taken map[[11]byte]bool, next map[[11]byte]int) [11]byte {
	for {
		next[basis]++
		tail := "~" + strconv.Itoa(next[basis])
		short := basis
		end := min(len(strings.TrimRight(string(basis[:8]), " ")), 8-len(tail))
		copy(short[end:8], tail+"       ")
		if !taken[short] {
			return short
		}
	}
}

// checksum ties the slots of a long name to the short one (fatgen103, ChkSum).
func (n name) checksum() byte {
	var sum byte
	for _, c := range n.short {
		sum = sum>>1 + sum<<7 + c
	}
	return sum
}
