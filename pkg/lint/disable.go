package lint

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

const disableMark = "# dib-lint: disable="

// disabled gives the checks that lines "# dib-lint: disable=a b" of a file turn
// off.
func disabled(data []byte) map[string]bool {
	if !strings.Contains(string(data), disableMark) {
		return nil
	}
	off := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if names, ok := strings.CutPrefix(line, disableMark); ok {
			for _, name := range strings.Fields(names) {
				off[name] = true
			}
		}
	}
	return off
}

// ini is what the tox.ini over an element says.
type ini struct {
	dir    string // of the tox.ini, or of the repository
	ignore map[string]bool
}

// maxIniBytes bounds tox.ini.
const maxIniBytes = 1 << 20

// iniOf finds the nearest tox.ini at or above an element, but not above its
// repository.
func (l *linter) iniOf(dir string) ini {
	if known, ok := l.ini[dir]; ok {
		return known
	}
	found := ini{}
	for at, err := filepath.Abs(dir); err == nil; at = filepath.Dir(at) {
		if data, err := element.ReadFile(filepath.Join(at, "tox.ini"), maxIniBytes); err == nil {
			found = ini{dir: at, ignore: parseIgnore(string(data))}
			break
		}
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil || at == filepath.Dir(at) {
			found.dir = at
			break
		}
	}
	l.ini[dir] = found
	return found
}

// parseIgnore reads the option ignore of the section dib-lint as Python's
// configparser does: "ignore = a b" or "ignore: a b", and indented lines go on.
func parseIgnore(text string) map[string]bool {
	off := map[string]bool{}
	section, option := "", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
			continue
		case trimmed[0] == '[' && line[0] == '[':
			section, option = strings.Trim(trimmed, "[]"), ""
			continue
		case line[0] != ' ' && line[0] != '\t':
			at := strings.IndexAny(trimmed, "=:")
			if at < 0 {
				continue
			}
			option, trimmed = strings.ToLower(strings.TrimSpace(trimmed[:at])), trimmed[at+1:]
		}
		if section == "dib-lint" && option == "ignore" {
			for _, name := range strings.Fields(trimmed) {
				off[name] = true
			}
		}
	}
	return off
}
