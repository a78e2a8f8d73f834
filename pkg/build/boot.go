//go:build containers_image_openpgp

package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// asksForBIOS tells whether one of the requests that grub-install noted, a JSON
// object a line, is for a PC's BIOS.
func asksForBIOS(requests string) (bool, error) {
	lines := json.NewDecoder(strings.NewReader(requests))
	for {
		var request struct{ Target string }
		switch err := lines.Decode(&request); {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("cannot read what grub-install noted: %w", err)
		case request.Target == "i386-pc":
			return true, nil
		}
	}
}
