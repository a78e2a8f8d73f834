package element

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// BaseImage gives the OCI image that the element starts from, as its file
// element-from names it in one line; "" when it has none.
func (e *Element) BaseImage() (string, error) {
	text, err := ReadFile(filepath.Join(e.Dir, "element-from"), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read element %s: %w", e.Name, err)
	}
	ref := strings.TrimSpace(string(text))
	if ref == "" || strings.ContainsAny(ref, " \t\n") {
		return "", fmt.Errorf("cannot read element %s: element-from must hold one image reference and holds %q", e.Name, ref)
	}
	return ref, nil
}

// Find gives the element of that name along path. A name that does not exist
// is a *[NotFoundError].
func Find(path []string, name string) (*Element, error) {
	found, err := find(path)
	if err != nil {
		return nil, err
	}
	e, ok := found.elements[name]
	if !ok {
		return nil, &NotFoundError{Name: name, Near: found.near(name)}
	}
	return e, e.load()
}
