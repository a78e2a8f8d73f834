package yaml11

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// The patterns by which YAML 1.1 gives an unquoted scalar its meaning, in the
// form that PyYAML uses: narrower than the specification's (1e3, y and .1e3
// stay text) in ways that existing files depend on.
const (
	boolPattern = `yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF`

	intPattern = `[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+` +
		`|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+`

	floatPattern = `[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)`

	timestampPattern = `[0-9]{4}-[0-9]{2}-[0-9]{2}` +
		`|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?` +
		`(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?`
)

// scalars recognises each kind; it is read only after it is made.
var scalars = []struct {
	kind  Kind
	match *regexp.Regexp
}{
	{Null, whole(`~|null|Null|NULL|`)},
	{Bool, whole(boolPattern)},
	{Int, whole(intPattern)},
	{Float, whole(floatPattern)},
	{Timestamp, whole(timestampPattern)},
}

var truths = map[string]bool{"yes": true, "true": true, "on": true, "no": false, "false": false, "off": false}

func whole(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`^(?:` + pattern + `)$`)
}

// plainKind gives the kind of an unquoted scalar.
func plainKind(raw string) Kind {
	for _, s := range scalars {
		if s.match.MatchString(raw) {
			return s.kind
		}
	}
	return String
}

// intValue reads a number that matches intPattern; it is not ok if the number
// does not fit or has no digits (0x_).
func intValue(raw string) (v int64, ok bool) {
	digits := strings.ReplaceAll(raw, "_", "")
	digits, negative := strings.CutPrefix(digits, "-")
	digits = strings.TrimPrefix(digits, "+")
	if strings.Contains(digits, ":") {
		v, ok = sixties(digits)
		if negative {
			v = -v
		}
		return v, ok
	}
	digits, base := based(digits)
	if negative {
		digits = "-" + digits
	}
	v, err := strconv.ParseInt(digits, base, 64)
	return v, err == nil
}

// based cuts off what tells the base of a number.
func based(digits string) (string, int) {
	switch {
	case strings.HasPrefix(digits, "0b"):
		return digits[2:], 2
	case strings.HasPrefix(digits, "0x"):
		return digits[2:], 16
	case strings.HasPrefix(digits, "0"):
		return digits, 8
	}
	return digits, 10
}

// bigText writes a number that intValue has no room for in decimal digits, or
// as it is if it has none.
func bigText(raw string) string {
	digits := strings.ReplaceAll(raw, "_", "")
	sign, rest := "", strings.TrimLeft(digits, "+-")
	if strings.HasPrefix(digits, "-") {
		sign = "-"
	}
	sum := new(big.Int)
	for part := range strings.SplitSeq(rest, ":") {
		part, base := part, 10
		if !strings.Contains(rest, ":") {
			part, base = based(part)
		}
		n, ok := new(big.Int).SetString(part, base)
		if !ok {
			return raw
		}
		sum.Add(sum.Mul(sum, big.NewInt(60)), n)
	}
	return sign + sum.String()
}

func sixties(digits string) (int64, bool) {
	var v int64
	for part := range strings.SplitSeq(digits, ":") {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || v > (math.MaxInt64-n)/60 {
			return 0, false
		}
		v = v*60 + n
	}
	return v, true
}

// floatValue reads a number that matches floatPattern.
func floatValue(raw string) float64 {
	digits := strings.ToLower(strings.ReplaceAll(raw, "_", ""))
	sign := 1.0
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		digits, sign = rest, -1
	}
	digits = strings.TrimPrefix(digits, "+")
	switch digits {
	case ".inf":
		return math.Inf(int(sign))
	case ".nan":
		return math.NaN()
	}
	v := 0.0
	for part := range strings.SplitSeq(digits, ":") {
		// Too large a number becomes infinite, as it does in Python.
		n, _ := strconv.ParseFloat(part, 64)
		v = v*60 + n
	}
	return sign * v
}
