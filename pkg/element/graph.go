package element

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Graph is which element needs which, and what they provide.
type Graph struct {
	Nodes []Node // sorted by name
	Edges []Edge // sorted by From, then To
	roots []string
}

// NodeKind tells what stands behind the name of a Node.
type NodeKind string

// The kinds of a Node.
const (
	Present  NodeKind = "element"
	Provided NodeKind = "provided" // no element has the name, but By provide it
	Missing  NodeKind = "missing"  // no element has the name, and none provides it
)

// Node is one name.
type Node struct {
	Name string
	Kind NodeKind
	By   []string // elements along the whole path, sorted
}

// Edge leads from an element to what it needs, or to what it provides.
type Edge struct {
	From, To string
	Provides bool
}

// NewGraph gives the graph of the elements named and of all that they need, or
// of every element along path when none is named. Nothing is chosen among
// elements that provide the same, and cycles stay.
func NewGraph(path, names []string) (*Graph, error) {
	found, err := find(path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if found.elements[name] == nil {
			return nil, &NotFoundError{Name: name, Near: found.near(name)}
		}
	}
	queue := slices.Clone(names)
	if len(names) == 0 {
		queue = slices.DeleteFunc(slices.Sorted(maps.Keys(found.elements)), func(name string) bool {
			return !usable(name) || name == "__pycache__"
		})
	}
	by, err := found.providers()
	if err != nil {
		return nil, err
	}
	g := &Graph{roots: names}
	seen := map[string]bool{}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		e, ok := found.elements[name]
		if !ok {
			kind := Provided
			if len(by[name]) == 0 {
				kind = Missing
			}
			g.Nodes = append(g.Nodes, Node{Name: name, Kind: kind, By: by[name]})
			continue
		}
		g.Nodes = append(g.Nodes, Node{Name: name, Kind: Present})
		for _, d := range e.Deps {
			g.Edges = append(g.Edges, Edge{From: name, To: d})
		}
		for _, p := range e.Provides {
			g.Edges = append(g.Edges, Edge{From: name, To: p, Provides: true})
		}
		queue = append(queue, append(slices.Clone(e.Deps), e.Provides...)...)
	}
	g.sort()
	return g, nil
}

// providers loads every element, and tells which provide a name.
func (x *index) providers() (map[string][]string, error) {
	by := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(x.elements)) {
		e := x.elements[name]
		if !usable(name) {
			continue
		}
		if err := e.load(); err != nil {
			return nil, err
		}
		for _, p := range e.Provides {
			by[p] = append(by[p], name)
		}
	}
	return by, nil
}

func (g *Graph) sort() {
	slices.SortFunc(g.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
}

// needs gives the edges that leave a node.
func (g *Graph) needs(name string) []Edge {
	at, _ := slices.BinarySearchFunc(g.Edges, name, func(e Edge, name string) int { return strings.Compare(e.From, name) })
	end := at
	for end < len(g.Edges) && g.Edges[end].From == name {
		end++
	}
	return g.Edges[at:end]
}

// starts gives the nodes to begin a drawing with: those that were asked for,
// or those that nothing leads to, and one of each circle that is left.
func (g *Graph) starts() []string {
	if len(g.roots) > 0 {
		return g.roots
	}
	entered := map[string]bool{}
	for _, e := range g.Edges {
		entered[e.To] = entered[e.To] || e.To != e.From
	}
	reached := map[string]bool{}
	var starts []string
	for _, onlyFree := range []bool{true, false} {
		for _, n := range g.Nodes {
			if !reached[n.Name] && (!onlyFree || !entered[n.Name]) {
				starts = append(starts, n.Name)
				g.reach(n.Name, reached)
			}
		}
	}
	slices.Sort(starts)
	return starts
}

func (g *Graph) reach(name string, reached map[string]bool) {
	stack := []string{name}
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if reached[name] {
			continue
		}
		reached[name] = true
		for _, e := range g.needs(name) {
			stack = append(stack, e.To)
		}
	}
}

// Text gives the graph as an indented list: below each element stands what it
// needs. What stands further up already is followed by "...".
func (g *Graph) Text() string {
	var b strings.Builder
	nodes := map[string]Node{}
	for _, n := range g.Nodes {
		nodes[n.Name] = n
	}
	shown := map[string]bool{}
	for _, name := range g.starts() {
		g.text(&b, nodes, shown, name, 0)
	}
	return b.String()
}

func (g *Graph) text(b *strings.Builder, nodes map[string]Node, shown map[string]bool, name string, depth int) {
	var needs, provides []string
	for _, e := range g.needs(name) {
		if e.Provides {
			provides = append(provides, e.To)
		} else {
			needs = append(needs, e.To)
		}
	}
	b.WriteString(strings.Repeat("  ", depth) + printable(name))
	switch {
	case nodes[name].Kind == Missing:
		b.WriteString(" (missing)")
	case nodes[name].Kind == Provided:
		b.WriteString(" (provided by " + printable(strings.Join(nodes[name].By, ", ")) + ")")
	case len(provides) > 0:
		b.WriteString(" (provides " + printable(strings.Join(provides, ", ")) + ")")
	}
	if shown[name] && len(needs) > 0 {
		b.WriteString(" ...\n")
		return
	}
	b.WriteString("\n")
	shown[name] = true
	for _, d := range needs {
		g.text(b, nodes, shown, d, depth+1)
	}
}

// DOT gives the graph in the language of Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	b.WriteString("digraph elements {\n    rankdir=LR;\n    node [shape=box, fontname=\"sans-serif\"];\n")
	for _, n := range g.Nodes {
		style := map[NodeKind]string{Provided: " [style=rounded]", Missing: " [style=dashed, color=red]"}[n.Kind]
		fmt.Fprintf(&b, "    %s%s;\n", dotQuote(n.Name), style)
	}
	for _, e := range g.Edges {
		style := ""
		if e.Provides {
			style = " [style=dashed, arrowhead=empty]"
		}
		fmt.Fprintf(&b, "    %s -> %s%s;\n", dotQuote(e.From), dotQuote(e.To), style)
	}
	return b.String() + "}\n"
}

// dotQuote writes a quoted identifier of DOT, in which only the quotation mark
// and the backslash mean something.
func dotQuote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(name)) + `"`
}

// Mermaid gives the graph as a flowchart of Mermaid.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{}
	for i, n := range g.Nodes {
		ids[n.Name] = fmt.Sprintf("n%d", i)
		box := map[NodeKind][2]string{Present: {"[", "]"}, Provided: {"([", "])"}, Missing: {"{{", "}}"}}[n.Kind]
		fmt.Fprintf(&b, "    %s%s\"%s\"%s\n", ids[n.Name], box[0], mermaidText(n.Name), box[1])
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Provides {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "    %s %s %s\n", ids[e.From], arrow, ids[e.To])
	}
	return b.String()
}

// mermaidText writes characters that mean something to Mermaid as its entities.
func mermaidText(name string) string {
	return strings.NewReplacer(`"`, "#quot;", "#", "#35;", "<", "#lt;", ">", "#gt;", "&", "#amp;", "`", "#96;").Replace(printable(name))
}
