package element

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Phase is one of the steps in which hooks run.
type Phase struct {
	Name   string // its hooks lie in the directory Name + ".d"
	Inside bool   // hooks run inside the target, as in a chroot
}

// Phases gives the phases in the order in which they run. block-device, which
// diskimage-builder has after post-root, is not among them: see
// [Set.RefusedHooks].
func Phases() []Phase {
	return []Phase{
		{Name: "root"},
		{Name: "extra-data"},
		{Name: "pre-install", Inside: true},
		{Name: "install", Inside: true},
		{Name: "post-install", Inside: true},
		{Name: "post-root"},
		{Name: "pre-finalise"},
		{Name: "finalise", Inside: true},
		{Name: "cleanup"},
	}
}

// Hooks lists the names of the hooks that dib-run-parts runs for a phase, in
// its order. dir is an element's directory or that of merged hooks. A phase
// without a directory has no hooks. RUN_PARTS_REGEX is not considered.
func Hooks(dir, phase string) ([]string, error) {
	dir = filepath.Join(dir, phase+".d")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list hooks of phase %s: %w", phase, err)
	}
	var names []string
	for _, entry := range entries {
		if !isHookName(entry.Name()) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, compareNumeric)
	return names, nil
}

// isHookName holds the name of a file against ^[0-9A-Za-z_-]+$.
func isHookName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !letterOrDigit(r) && r != '_' && r != '-'
	})
}

// compareNumeric orders names as "sort -n" does in the C locale: by the number
// they start with, of any length and 0 if there is none, then by bytes.
func compareNumeric(a, b string) int {
	negativeA, digitsA := leadingNumber(a)
	negativeB, digitsB := leadingNumber(b)
	order := 0
	switch {
	case negativeA && !negativeB:
		order = -1
	case negativeB && !negativeA:
		order = 1
	case negativeA:
		order = compareDigits(digitsB, digitsA)
	default:
		order = compareDigits(digitsA, digitsB)
	}
	if order != 0 {
		return order
	}
	return strings.Compare(a, b)
}

// leadingNumber cuts the number at the start of name, without leading zeros.
func leadingNumber(name string) (negative bool, digits string) {
	rest, minus := strings.CutPrefix(name, "-")
	digits = rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	digits = strings.TrimLeft(digits, "0")
	return minus && digits != "", digits
}

func compareDigits(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
