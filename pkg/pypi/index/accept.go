package index

import (
	"strconv"
	"strings"
)

// Negotiate chooses the type of a page for a client's Accept header; "" means
// that none of ours will do.
func Negotiate(accept string) string {
	if strings.TrimSpace(accept) == "" {
		return LegacyHTML
	}
	best, bestQuality := "", 0.0
	for _, ours := range []string{LegacyHTML, HTML, JSON} { // the later wins only when wanted more
		if q := quality(accept, ours); q > bestQuality {
			best, bestQuality = ours, q
		}
	}
	return best
}

// quality is how much an Accept header wants a type: its most precise item tells.
func quality(accept, ours string) float64 {
	q, precision := 0.0, 0
	for item := range strings.SplitSeq(accept, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		p := matches(strings.ToLower(strings.TrimSpace(name)), ours)
		if p <= precision {
			continue
		}
		precision, q = p, 1
		for parameter := range strings.SplitSeq(parameters, ";") {
			if value, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
				q, _ = strconv.ParseFloat(value, 64)
			}
		}
		if !(q >= 0 && q <= 1) {
			q = 0
		}
	}
	return q
}

// matches tells how precisely a range of types names ours; 0: not at all.
func matches(name, ours string) int {
	major, _, _ := strings.Cut(ours, "/")
	switch name {
	case ours, strings.Replace(ours, ".v1+", ".latest+", 1):
		return 3
	case major + "/*":
		return 2
	case "*/*", "*":
		return 1
	}
	return 0
}
