package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// YAML writes what is missing, with the reason above each setting, and then the
// whole recommended pod, as two documents.
func (a Advice) YAML() string {
	var b strings.Builder
	comment(&b, "This is "+a.Where.String()+".")
	switch {
	case a.Works && len(a.Missing) == 0:
		comment(&b, "Builds work here; nothing is missing.")
	case a.Works:
		comment(&b, "Builds work here, but better with:")
	case len(a.Missing) == 0 && len(a.Image) == 0:
		comment(&b, "Builds do not work here: "+a.Problem, "No setting of a pod is known that mends it.")
	default:
		comment(&b, "Builds do not work here: "+a.Problem)
	}
	for _, lack := range a.Image {
		comment(&b, "The container's image: "+lack)
	}
	if len(a.Missing) > 0 {
		comment(&b, "What is missing:")
		var all []wanted
		why := map[string]string{}
		for _, s := range a.Missing {
			all = append(all, wanted{Setting: s})
			why[s.Field] = s.Why
		}
		writeMap(&b, assemble(all), "", "", why)
	}
	b.WriteString("---\n")
	comment(&b, "The whole pod that is recommended:")
	writeMap(&b, a.Pod, "", "", nil)
	return b.String()
}

func comment(b *strings.Builder, lines ...string) {
	for _, line := range lines {
		fmt.Fprintln(b, "#", strings.Join(strings.Fields(line), " "))
	}
}

// assemble puts settings together into one object.
func assemble(settings []wanted) map[string]any {
	root := map[string]any{}
	for _, s := range settings {
		at := root
		path := strings.Split(s.Field, ".")
		for _, name := range path[:len(path)-1] {
			at = descend(at, name)
		}
		at[path[len(path)-1]] = s.Value
	}
	return root
}

// descend gives the object below a name, or the first of the list below NAME[0].
func descend(at map[string]any, name string) map[string]any {
	list, isList := strings.CutSuffix(name, "[0]")
	if isList {
		if _, there := at[list]; !there {
			at[list] = []any{map[string]any{}}
		}
		return at[list].([]any)[0].(map[string]any)
	}
	if _, there := at[name]; !there {
		at[name] = map[string]any{}
	}
	return at[name].(map[string]any)
}

// writeMap writes an object in block style, its leaves in flow style, with a
// comment above the fields that why has. first goes before the first line.
func writeMap(b *strings.Builder, m map[string]any, indent, field string, why map[string]string) {
	for _, key := range ordered(m) {
		at := strings.TrimPrefix(field+"."+key, ".")
		if why[at] != "" {
			fmt.Fprintln(b, indent+"# "+why[at])
		}
		switch v := m[key].(type) {
		case map[string]any:
			if isLeaf(v) && !within(why, at) {
				fmt.Fprintln(b, indent+key+": "+flow(v))
				continue
			}
			fmt.Fprintln(b, indent+key+":")
			writeMap(b, v, indent+"  ", at, why)
		case []any:
			writeList(b, key, v, indent, at, why)
		default:
			fmt.Fprintln(b, indent+key+": "+flow(v))
		}
	}
}

// writeList writes a list of one object in block style, or any other in flow style.
func writeList(b *strings.Builder, key string, list []any, indent, field string, why map[string]string) {
	object, isObject := list[0].(map[string]any)
	if !isObject || len(list) != 1 || isLeaf(object) && !within(why, field) {
		fmt.Fprintln(b, indent+key+": "+flow(list))
		return
	}
	fmt.Fprintln(b, indent+key+":")
	var inner strings.Builder
	writeMap(&inner, object, indent+"  ", field+"[0]", why)
	text := inner.String()
	fmt.Fprint(b, indent+"- "+text[len(indent)+2:])
}

// within tells whether a field below another has a reason to be shown.
func within(why map[string]string, field string) bool {
	for at := range why {
		if rest, below := strings.CutPrefix(at, field); below && rest != "" {
			return true
		}
	}
	return false
}

// ordered gives the keys as people write them: names first, containers before
// what belongs to the pod.
func ordered(m map[string]any) []string {
	first := []string{"apiVersion", "kind", "metadata", "name", "image", "args", "hostUsers"}
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

// isLeaf tells whether an object is small enough for one line.
func isLeaf(m map[string]any) bool { return len(flow(m)) <= 60 && len(m) < 4 }

// flow writes a value on one line. Strings need no quotes here but where they
// hold a comma.
func flow(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, key := range ordered(v) {
			parts = append(parts, key+": "+flow(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, each := range v {
			parts = append(parts, flow(each))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		if strings.ContainsAny(v, ",:") || strings.HasPrefix(v, "-") {
			return strconv.Quote(v)
		}
		return v
	}
	return fmt.Sprint(v)
}
