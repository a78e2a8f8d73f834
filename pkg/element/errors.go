package element

import (
	"fmt"
	"strings"
)

// operatingSystem is what exactly one element of a set must provide.
const operatingSystem = "operating-system"

// PathError says that an entry of ELEMENTS_PATH is no directory.
type PathError struct{ Entry string }

func (e *PathError) Error() string {
	return fmt.Sprintf("cannot find elements: ELEMENTS_PATH entry '%s' is not a directory", e.Entry)
}

// NotFoundError says that no entry of ELEMENTS_PATH has an element.
type NotFoundError struct {
	Name     string
	NeededBy string   // the element whose element-deps name it; empty when the user did
	Near     []string // up to three names that may have been meant, best first
}

func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("cannot resolve elements: Element '%s' not found", e.Name)
	if e.NeededBy != "" {
		text += fmt.Sprintf(" (needed by '%s')", e.NeededBy)
	}
	return text
}

// ProvidedError says that more than one element provides the same thing, or
// that the user listed something which another element provides.
type ProvidedError struct {
	Provided string
	By       []string // the elements that provide it, the first found first
	Listed   bool     // the user listed Provided itself
}

func (e *ProvidedError) Error() string {
	quoted := "['" + strings.Join(e.By[:1], "', '") + "']"
	text := fmt.Sprintf("cannot resolve elements: %s: already provided by %s", e.Provided, quoted)
	switch {
	case e.Listed:
		return text + fmt.Sprintf(", so '%s' must not be listed beside it", e.Provided)
	case e.By[0] == e.By[1]:
		return text + ", which is listed twice"
	default:
		return text + fmt.Sprintf(", and '%s' provides it too", e.By[1])
	}
}

// MissingOSError says that no element of the list provides an operating system.
type MissingOSError struct{}

func (e *MissingOSError) Error() string {
	return "cannot resolve elements: Please include an operating system element"
}

// NameError says that a directory of ELEMENTS_PATH has a name that no element
// can have.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("cannot use element %q: a name is made of letters, digits and . _ + - "+
		"and starts with a letter, a digit or _", e.Name)
}

// DuplicateHookError says that two elements have a file of the same name for
// the same directory of hooks.
type DuplicateHookError struct {
	Hook     string // such as install.d/10-packages
	Elements [2]string
}

func (e *DuplicateHookError) Error() string {
	return fmt.Sprintf("cannot merge hooks: There is a duplicated hook in your elements: %s is in both '%s' and '%s'",
		e.Hook, e.Elements[0], e.Elements[1])
}

// RefusedHookError says that an element has a hook for a phase that never
// runs here.
type RefusedHookError struct{ Element, Hook string }

func (e *RefusedHookError) Error() string {
	return fmt.Sprintf("cannot run hook %s of element '%s': the disk is laid out without a block device, "+
		"describe it in a block-device-default.yaml instead", e.Hook, e.Element)
}
