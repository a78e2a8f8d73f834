// Package fstab reads the table of file systems of a machine, /etc/fstab, as
// fstab(5) of util-linux describes it. It writes none, and looks for no device.
package fstab

import (
	"strconv"
	"strings"
)

// Line is one line of the table.
type Line struct {
	Spec    string // what is mounted: "LABEL=root", "UUID=...", "/dev/vg/root"
	Point   string // where; "none" or "swap" for a swap space
	Type    string
	Options []string
}

// Tag splits a spec as LABEL=root into its name in upper case and its value,
// which may stand in double quotes. The name is "" for a path.
func (l Line) Tag() (name, value string) {
	name, value, ok := strings.Cut(l.Spec, "=")
	if !ok || strings.Contains(name, "/") {
		return "", l.Spec
	}
	return strings.ToUpper(name), strings.Trim(value, `"`)
}

// Parse reads the table. Comments, empty lines and lines with fewer than three
// fields, which mount passes over too, are left out.
func Parse(text string) []Line {
	var lines []Line
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		for i := range fields {
			fields[i] = unescape(fields[i])
		}
		l := Line{Spec: fields[0], Point: fields[1], Type: fields[2]}
		if len(fields) > 3 {
			l.Options = strings.Split(fields[3], ",")
		}
		lines = append(lines, l)
	}
	return lines
}

// unescape turns \040 and its like into the bytes that they stand for.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
