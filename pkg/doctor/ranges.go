package doctor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// idRange is a run of user or group ids.
type idRange struct{ start, count uint64 }

func (r idRange) end() uint64 { return r.start + r.count }

// idsHere gives the ids that exist in the caller's user namespace: lines of
// first id here, first id outside and count (user_namespaces(7)).
func (m *Machine) idsHere() ([]idRange, error) {
	text, err := m.read("/proc/self/uid_map")
	if err != nil {
		return nil, fmt.Errorf("cannot read the ids of this user namespace: %w", err)
	}
	var out []idRange
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			out = appendRange(out, f[0], f[2])
		}
	}
	return out, nil
}

// idFile reads lines of NAME:START:COUNT (subuid(5)), where a number may stand
// for the name. A file that is not there holds none.
func (m *Machine) idFile(name string) (map[string][]idRange, error) {
	text, err := m.read(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	all := map[string][]idRange{}
	for line := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 {
			all[f[0]] = appendRange(all[f[0]], f[1], f[2])
		}
	}
	return all, nil
}

// parseGetSubIDs reads lines of "INDEX: NAME START COUNT".
func parseGetSubIDs(text string) []idRange {
	var out []idRange
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 {
			out = appendRange(out, f[2], f[3])
		}
	}
	return out
}

// appendRange leaves out what is no range of ids, as the programs that use them do.
func appendRange(to []idRange, start, count string) []idRange {
	s, serr := strconv.ParseUint(start, 10, 32)
	n, nerr := strconv.ParseUint(count, 10, 32)
	if serr != nil || nerr != nil {
		return to
	}
	return append(to, idRange{s, n})
}

func total(ranges []idRange) uint64 {
	var n uint64
	for _, r := range ranges {
		n += r.count
	}
	return n
}

// overlap counts the ids of a that are in b too.
func overlap(a, b []idRange) uint64 {
	var n uint64
	for _, x := range a {
		for _, y := range b {
			if from, to := max(x.start, y.start), min(x.end(), y.end()); from < to {
				n += to - from
			}
		}
	}
	return n
}

// end is the first id after all ranges.
func end(ranges []idRange) uint64 {
	var n uint64
	for _, r := range ranges {
		n = max(n, r.end())
	}
	return n
}

// free gives the first id, at least 100000 as useradd has it, after every range
// that is handed out already.
func free(all map[string][]idRange) uint64 {
	first := uint64(100000)
	for _, ranges := range all {
		first = max(first, end(ranges))
	}
	return first
}
