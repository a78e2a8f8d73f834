package element

import (
	"path/filepath"
	"strings"
)

// maxReadmeBytes bounds what is read of a README.
const maxReadmeBytes = 1 << 20

// Summary gives the first paragraph of the element's README.rst or README.md
// as one line, or "" when there is none.
func (e *Element) Summary() string {
	for _, name := range []string{"README.rst", "README.md"} {
		data, err := ReadFile(filepath.Join(e.Dir, name), maxReadmeBytes)
		if err != nil {
			continue // an element without a readable README is still an element
		}
		if text := firstParagraph(string(data)); text != "" {
			return text
		}
	}
	return ""
}

// firstParagraph finds the first run of lines that is neither a title nor
// markup of reStructuredText or Markdown.
func firstParagraph(text string) string {
	lines := strings.Split(strings.ToValidUTF8(text, "\uFFFD"), "\n")
	var words []string
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		title := i+1 < len(lines) && isRule(strings.TrimSpace(lines[i+1])) && line != "" && len(words) == 0
		switch {
		case title:
			i++
		case line == "" || isRule(line):
			if len(words) > 0 {
				return strings.Join(words, " ")
			}
		case len(words) == 0 && isMarkup(line):
			i = skipMarkup(lines, i)
		default:
			words = append(words, strings.Fields(printable(line))...)
		}
	}
	return strings.Join(words, " ")
}

// isRule tells an underline of a title: nothing but one character of
// punctuation.
func isRule(line string) bool {
	return line != "" && strings.ContainsRune("=-~^\"'`#*+.<>_", rune(line[0])) && strings.Trim(line, line[:1]) == ""
}

func isMarkup(line string) bool {
	for _, start := range []string{"..", "#", "<!--", "[![", "![", ":"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}

// skipMarkup gives the last line of the markup that starts at line i: a
// directive goes on in the indented lines below it.
func skipMarkup(lines []string, i int) int {
	if !strings.HasPrefix(strings.TrimSpace(lines[i]), "..") {
		return i
	}
	for i+1 < len(lines) && (strings.HasPrefix(lines[i+1], " ") || strings.HasPrefix(lines[i+1], "\t")) {
		i++
	}
	return i
}

// printable drops control characters, which could steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || 0x7f <= r && r < 0xa0:
			return -1
		}
		return r
	}, text)
}
