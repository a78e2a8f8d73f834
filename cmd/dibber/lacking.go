//go:build containers_image_openpgp

package main

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	// The last words of pip and of uv on a package that no index has.
	pipLacks   = regexp.MustCompile(`No matching distribution found for (\S[^(]*)`)
	uvLacks    = regexp.MustCompile(`Because (\S+) was not found in the package registry`)
	pipIndexes = regexp.MustCompile(`^Looking in indexes: (.+)$`)
)

// lackingPackage tells of a package that pip or uv did not find, and where it was
// looked for; "" when it was not that.
func lackingPackage(said []string) string {
	var lacking, indexes string
	for _, line := range said {
		for _, form := range []*regexp.Regexp{pipLacks, uvLacks} {
			if m := form.FindStringSubmatch(line); m != nil {
				lacking = strings.TrimSpace(printable(m[1]))
			}
		}
		if m := pipIndexes.FindStringSubmatch(line); m != nil {
			indexes = " (" + printable(m[1]) + ")"
		}
	}
	if lacking == "" {
		return ""
	}
	return fmt.Sprintf("no index that was asked%s has a package that fits %q: dibber pypi sync '%s' puts it into the mirror; without --offline the element pypi asks the official index as well", indexes, lacking, lacking)
}
