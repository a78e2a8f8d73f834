package environ

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Declare gives the value of DIB_ENV: for each variable of user whose name
// starts with DIB_, a line with which bash would declare it, as "declare -p"
// prints it in the C locale. Lines are sorted by name.
func Declare(user []string) string {
	values := New(user).values
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.HasPrefix(name, "DIB_") && isIdentifier(name) {
			lines = append(lines, "declare -x "+name+"="+bashQuote(values[name]))
		}
	}
	return strings.Join(lines, "\n")
}

// isIdentifier tells whether bash takes name as that of a variable.
func isIdentifier(name string) bool {
	return name != "" && !('0' <= name[0] && name[0] <= '9') && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z') && !('0' <= r && r <= '9')
	})
}

// bashQuote quotes value in double quotes, or as $'...' when it holds a byte
// that is not printable ASCII.
func bashQuote(value string) string {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return ansiQuote(value)
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}

func ansiQuote(value string) string {
	const plain = "\a\b\x1b\f\n\r\t\v\\'"
	const letter = `abEfnrtv\'`
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(value) {
		c := value[i]
		switch at := strings.IndexByte(plain, c); {
		case at >= 0:
			b.WriteString(`\` + letter[at:at+1])
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}
