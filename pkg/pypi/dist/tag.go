package dist

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Target is a Python on a machine, for which wheels are chosen.
type Target struct {
	Python   string // "3.11"
	Full     string // "3.11.2", or "3.11.0" when the last number is not told
	Platform string // "manylinux_2_36_x86_64"
	rank     map[string]int
}

var (
	pythonPattern   = regexp.MustCompile(`^(3\.(\d{1,2}))(?:\.(\d{1,3}))?$`)
	platformPattern = regexp.MustCompile(`^(manylinux|musllinux)_(\d{1,2})_(\d{1,3})_([a-z0-9_]+)$`)
)

// NewTarget gives the target of a CPython 3, as 3.11 or 3.11.2, and a platform as
// wheels name it. Of manylinux and musllinux the older ones fit, too; another name
// fits itself.
func NewTarget(python, platform string) (*Target, error) {
	m := pythonPattern.FindStringSubmatch(python)
	if m == nil {
		return nil, fmt.Errorf("%q is no Python: write 3.11", python)
	}
	if !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(platform) {
		return nil, fmt.Errorf("%q is no platform: write manylinux_2_36_x86_64", platform)
	}
	minor, _ := strconv.Atoi(m[2])
	t := &Target{Python: m[1], Full: m[1] + "." + cmp.Or(m[3], "0"), Platform: platform, rank: map[string]int{}}
	for i, tag := range tags(minor, platforms(platform)) {
		if _, twice := t.rank[tag]; !twice {
			t.rank[tag] = i
		}
	}
	return t, nil
}

// legacy are the names that manylinux had before it told the C library's version.
var legacy = map[int]string{17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}

// platforms lists what fits a platform, best first.
func platforms(platform string) []string {
	for n, old := range legacy {
		if arch, ok := strings.CutPrefix(platform, old+"_"); ok {
			platform = fmt.Sprintf("manylinux_2_%d_%s", n, arch)
		}
	}
	m := platformPattern.FindStringSubmatch(platform)
	if m == nil {
		return []string{platform}
	}
	kind, arch := m[1], m[4]
	major, _ := strconv.Atoi(m[2])
	minor, _ := strconv.Atoi(m[3])
	oldest := 0
	if kind == "manylinux" {
		oldest = 5
	}
	var out []string
	for n := minor; n >= oldest; n-- {
		out = append(out, fmt.Sprintf("%s_%d_%d_%s", kind, major, n, arch))
		if old, ok := legacy[n]; ok && kind == "manylinux" && major == 2 {
			out = append(out, old+"_"+arch)
		}
	}
	return append(out, "linux_"+arch)
}

// tags lists the tags that CPython 3.minor takes, best first, in pip's order.
func tags(minor int, platforms []string) []string {
	var out []string
	each := func(python, abi string) {
		for _, p := range platforms {
			out = append(out, python+"-"+abi+"-"+p)
		}
	}
	own := "cp3" + strconv.Itoa(minor)
	each(own, own)
	each(own, "abi3")
	each(own, "none")
	for n := minor - 1; n >= 2; n-- {
		each("cp3"+strconv.Itoa(n), "abi3")
	}
	generic := []string{"py3" + strconv.Itoa(minor), "py3"}
	for n := minor - 1; n >= 0; n-- {
		generic = append(generic, "py3"+strconv.Itoa(n))
	}
	for _, g := range generic {
		each(g, "none")
	}
	out = append(out, own+"-none-any")
	for _, g := range generic {
		out = append(out, g+"-none-any")
	}
	return out
}

// Fits tells how well a wheel fits: 0 is best, negative not at all.
func (t *Target) Fits(n Name) int {
	best := -1
	for _, tag := range n.Tags {
		if r, ok := t.rank[tag]; ok && (best < 0 || r < best) {
			best = r
		}
	}
	return best
}

// Prefer orders two files of one version: negative when a is the better. Wheels
// that fit go before sources, and both must be usable.
func (t *Target) Prefer(a, b Name) int {
	if a.Wheel != b.Wheel {
		if a.Wheel {
			return -1
		}
		return 1
	}
	if a.Wheel {
		if c := cmp.Compare(t.Fits(a), t.Fits(b)); c != 0 {
			return c
		}
		return compareBuilds(b.Build, a.Build)
	}
	return cmp.Compare(sdistRank(a.File), sdistRank(b.File))
}

func sdistRank(file string) int {
	return slices.IndexFunc(sdistEndings, func(e string) bool { return strings.HasSuffix(file, e) })
}

// compareBuilds compares the numbers of builds, then what follows them.
func compareBuilds(a, b string) int {
	split := func(s string) (int, string) {
		rest := strings.TrimLeft(s, "0123456789")
		n, _ := strconv.Atoi(s[:len(s)-len(rest)])
		return n, rest
	}
	na, ra := split(a)
	nb, rb := split(b)
	return cmp.Or(cmp.Compare(na, nb), cmp.Compare(ra, rb))
}
