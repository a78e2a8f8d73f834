package fat

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// codePage437 holds the characters 128 to 255 of the code page in which
// short names are kept on most systems, Linux's own choice among them.
const codePage437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»" +
	"░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀" +
	"αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"

func fromCodePage(b []byte) string {
	upper := []rune(codePage437)
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune(upper[c-0x80])
		}
	}
	return s.String()
}

// decodeShort spells a short name as Windows NT and Linux do: in lower case
// where flags say so.
func decodeShort(b [11]byte, flags byte) string {
	if b[0] == 0x05 { // stands for the byte that marks free slots
		b[0] = slotFree
	}
	base := strings.TrimRight(fromCodePage(b[:8]), " ")
	extension := strings.TrimRight(fromCodePage(b[8:]), " ")
	if flags&lowerBase != 0 {
		base = strings.Map(lower, base)
	}
	if flags&lowerExtension != 0 {
		extension = strings.Map(lower, extension)
	}
	if extension == "" {
		return base
	}
	return base + "." + extension
}

// lower gives the small letter if the code page has it.
func lower(r rune) rune {
	if l := unicode.ToLower(r); l < 0x80 || strings.ContainsRune(codePage437, l) {
		return l
	}
	return r
}

// longName collects the slots of a long name, which come with its end first.
type longName struct {
	chars [maxLongSlots * charsPerSlot]uint16
	slots int // of the name; 0 for none
	left  int // slots that are still to come
	sum   byte
}

const maxLongSlots = 20

func (l *longName) reset() { l.slots = 0 }

// add takes the next slot. One that does not go on what was before makes all
// of it void.
func (l *longName) add(slot []byte) {
	ordinal := int(slot[0])
	if ordinal&lastLongSlot != 0 {
		ordinal &^= lastLongSlot
		l.slots, l.left, l.sum = ordinal, ordinal, slot[13]
	}
	if l.slots == 0 || l.slots > maxLongSlots || ordinal != l.left || ordinal == 0 || slot[13] != l.sum {
		l.reset()
		return
	}
	l.left--
	for i := range charsPerSlot {
		l.chars[l.left*charsPerSlot+i] = binary.LittleEndian.Uint16(slot[longCharOffset(i):])
	}
}

// take gives the name if it is whole and belongs to the short one.
func (l *longName) take(short [11]byte) (string, bool) {
	if l.slots == 0 || l.left != 0 || l.sum != (name{short: short}).checksum() {
		return "", false
	}
	chars := l.chars[:l.slots*charsPerSlot]
	for i, c := range chars {
		if c == 0 {
			chars = chars[:i]
			break
		}
	}
	runes := utf16.Decode(chars)
	s := string(runes)
	// What does not survive the way back has half a character in it.
	if s == "" || strings.ContainsRune(s, '/') || !slices.Equal(utf16.Encode(runes), chars) {
		return "", false
	}
	return s, true
}
