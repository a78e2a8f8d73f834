package layout

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

const (
	kibibyte = 1 << 10
	mebibyte = 1 << 20
	gibibyte = 1 << 30

	// maxSize keeps sums of sizes far from overflowing.
	maxSize = 1 << 60
)

var sizePattern = regexp.MustCompile(`^([0-9.]*) ?([a-zA-Z0-9_]*)$`)

// ParseSize reads a size in bytes as diskimage-builder writes it: "550MiB",
// "1.5 GiB", "40G". Units are case-sensitive; TiB, GiB, MiB and KiB count by
// 1024; TB, T, GB, G, MB, M, KB and K by 1000; B and none are bytes. A unit
// without a number is one of it.
func ParseSize(text string) (int64, error) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("invalid size unit spec [%s]", text)
	}
	unit, ok := unitFactor(m[2])
	if !ok {
		return 0, fmt.Errorf("unit_str [%s] not known, use TiB, GiB, MiB, KiB, TB, GB, MB, KB or B", m[2])
	}
	count := 1.0
	if m[1] != "" {
		var err error
		if count, err = strconv.ParseFloat(m[1], 64); err != nil {
			return 0, fmt.Errorf("invalid size unit spec [%s]: %s is no number", text, m[1])
		}
	}
	if bytes := unit * count; bytes <= maxSize {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("size [%s] is larger than an exbibyte", text)
}

func unitFactor(unit string) (float64, bool) {
	switch unit {
	case "TiB":
		return 1 << 40, true
	case "GiB":
		return gibibyte, true
	case "MiB":
		return mebibyte, true
	case "KiB":
		return kibibyte, true
	case "TB", "T":
		return 1e12, true
	case "GB", "G":
		return 1e9, true
	case "MB", "M":
		return 1e6, true
	case "KB", "K":
		return 1e3, true
	case "B", "":
		return 1, true
	}
	return 0, false
}

// parsePartSize reads the size of a partition: absolute, or as "55%".
func parsePartSize(text string) (Size, error) {
	number, ok := strings.CutSuffix(text, "%")
	if !ok {
		bytes, err := ParseSize(text)
		if err == nil && bytes == 0 {
			err = fmt.Errorf("size [%s] is nothing", text)
		}
		return Size{Bytes: bytes}, err
	}
	percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(percent > 0 && percent <= 100) { // NaN is neither
		return Size{}, fmt.Errorf("size [%s] is no share between 0%% and 100%%", text)
	}
	return Size{Percent: percent}, nil
}

// of gives the bytes that the size is when free bytes are left.
func (s Size) of(free int64) int64 {
	if s.Bytes != 0 {
		return s.Bytes
	}
	return int64(float64(free) * s.Percent / 100)
}

// human writes a size for a person: 1.3 GiB, rounded down.
func human(bytes int64) string {
	for _, u := range []struct {
		name   string
		factor int64
	}{{"TiB", 1 << 40}, {"GiB", gibibyte}, {"MiB", mebibyte}, {"KiB", kibibyte}} {
		if bytes >= u.factor {
			tenths := math.Floor(float64(bytes) / float64(u.factor) * 10)
			return strconv.FormatFloat(tenths/10, 'f', -1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(bytes, 10) + " bytes"
}

// alignUp gives the first multiple of unit that is not below n.
func alignUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
