package bootloader

import "strings"

// words cuts arguments as the kernel does: at blanks that are not between
// double quotes. The quotes themselves are left out.
func words(line string) []string {
	var out []string
	var word strings.Builder
	quoted, begun := false, false
	flush := func() {
		if begun {
			out = append(out, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, c := range line {
		switch {
		case c == '"':
			quoted, begun = !quoted, true
		case (c == ' ' || c == '\t') && !quoted:
			flush()
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	flush()
	return out
}

// joinWords is the reverse of words.
func joinWords(list []string) string {
	quoted := make([]string, len(list))
	for i, w := range list {
		if strings.ContainsAny(w, " \t") || w == "" {
			w = `"` + w + `"`
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}

// shellQuote makes one word of s for a shell, and for GRUB, whose scripts know
// the same quotes.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.,=:+@"
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(plain, c) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// oneLine leaves out what would begin a new line or a new field.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if isControl(c) {
			return -1
		}
		return c
	}, s))
}

// assignments reads the lines KEY=VALUE of a file that a shell would source,
// as os-release(5) describes them. A value that a shell would have to work out
// is left out, and so is the value that it had before.
func assignments(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found || key == "" || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") != "" {
			continue
		}
		if v, plain := unquote(value); plain {
			out[key] = v
		} else {
			delete(out, key)
		}
	}
	return out
}

// unquote reads one word of a shell, and tells whether it is nothing else.
func unquote(s string) (word string, plain bool) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'':
			if i++; i == len(s) {
				return "", false
			}
			b.WriteByte(s[i])
		case quote != '\'' && (c == '$' || c == '`'):
			return "", false
		case quote == 0 && (c == ' ' || c == '\t' || c == '#' || c == ';'):
			rest := strings.TrimSpace(s[i:])
			return b.String(), rest == "" || rest[0] == '#'
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), quote == 0
}
