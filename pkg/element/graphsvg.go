package element

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Sizes of the drawing in pixels. A character of the typeface, of which no two
// machines have the same, is taken to be at most this wide.
const (
	charWidth  = 7.4
	boxHeight  = 22.0
	rowHeight  = 30.0
	bendHeight = 11.0
	boxPadding = 8.0
	columnGap  = 60.0
	margin     = 16.0
	aloneWide  = 1100.0 // the width that elements without edges are wrapped at
)

// SVG draws the graph from left to right: what is needed stands to the right
// of what needs it. The same graph gives the same bytes.
func (g *Graph) SVG() string {
	d := newDrawing(g)
	d.rank()
	d.bend()
	d.order()
	d.place()
	return d.svg()
}

// drawing is a layered layout: circles are cut, every node gets a column, long
// edges get a bend in each column that they cross, and rows are ordered so that
// few edges cross.
type drawing struct {
	points  []*point   // nodes first, then bends
	nodes   int        // how many points are nodes
	lines   []line     // one an edge
	columns [][]*point // in order from top to bottom
	alone   []*point
	height  float64
	width   float64
}

// point is a node, or the bend of a long edge.
type point struct {
	node        Node // Name is empty for a bend
	column      int
	x, y, width float64 // y is that of the middle
	tall        float64 // of the row
	left, right []*point
}

// line is one edge with its points from left to right.
type line struct {
	edge    Edge
	path    []*point
	reverse bool // it closes a circle, and points to the left
}

func newDrawing(g *Graph) *drawing {
	d := &drawing{}
	byName := map[string]*point{}
	for _, n := range g.Nodes {
		p := &point{node: n, tall: rowHeight, width: float64(len([]rune(printable(n.Name))))*charWidth + 2*boxPadding}
		d.points = append(d.points, p)
		byName[n.Name] = p
	}
	d.nodes = len(d.points)
	for _, e := range g.Edges {
		if e.From != e.To { // an element that needs itself says nothing
			d.lines = append(d.lines, line{edge: e, path: []*point{byName[e.From], byName[e.To]}})
		}
	}
	d.cut(g, byName)
	return d
}

// cut turns round every edge that closes a circle, by walking in depth from
// what a reader starts with.
func (d *drawing) cut(g *Graph, byName map[string]*point) {
	out := map[*point][]int{}
	for i, l := range d.lines {
		out[l.path[0]] = append(out[l.path[0]], i)
	}
	const open, done = 1, 2
	state := map[*point]int{}
	var walk func(p *point)
	walk = func(p *point) {
		state[p] = open
		for _, i := range out[p] {
			switch to := d.lines[i].path[1]; state[to] {
			case open:
				d.lines[i].reverse = true
			case 0:
				walk(to)
			}
		}
		state[p] = done
	}
	for _, name := range g.starts() {
		if state[byName[name]] == 0 {
			walk(byName[name])
		}
	}
	for i := range d.lines {
		if d.lines[i].reverse {
			slices.Reverse(d.lines[i].path)
		}
	}
}

// rank gives every node the first column behind all that need it, and then
// moves it as far right as what it needs allows, so that edges are short.
func (d *drawing) rank() {
	for changed := true; changed; {
		changed = false
		for _, l := range d.lines {
			if from, to := l.path[0], l.path[1]; to.column <= from.column {
				to.column, changed = from.column+1, true
			}
		}
	}
	nearest := map[*point]int{}
	entered := map[*point]bool{}
	for _, l := range d.lines {
		from, to := l.path[0], l.path[1]
		entered[to] = true
		if least, ok := nearest[from]; !ok || to.column < least {
			nearest[from] = to.column
		}
	}
	for p, column := range nearest {
		if !entered[p] {
			p.column = column - 1
		}
	}
}

// bend puts points into long edges and sorts everything into columns.
func (d *drawing) bend() {
	drawn := map[*point]bool{}
	for i := range d.lines {
		l := &d.lines[i]
		from, to := l.path[0], l.path[1]
		drawn[from], drawn[to] = true, true
		path := []*point{from}
		for column := from.column + 1; column < to.column; column++ {
			p := &point{column: column, tall: bendHeight}
			d.points = append(d.points, p)
			path = append(path, p)
			drawn[p] = true
		}
		l.path = append(path, to)
		for i, p := range l.path[1:] {
			l.path[i].right = append(l.path[i].right, p)
			p.left = append(p.left, l.path[i])
		}
	}
	for _, p := range d.points {
		if !drawn[p] {
			d.alone = append(d.alone, p)
			continue
		}
		for len(d.columns) <= p.column {
			d.columns = append(d.columns, nil)
		}
		d.columns[p.column] = append(d.columns[p.column], p)
	}
}

// sweeps is how often rows are ordered and placed, to the right and back.
const sweeps = 24

// order sorts each column by the middle of its neighbours' rows, to and fro.
func (d *drawing) order() {
	number := func(column []*point) {
		for i, p := range column {
			p.y = float64(i)
		}
	}
	for _, column := range d.columns {
		number(column)
	}
	for sweep := range sweeps {
		for i := range d.columns {
			column, side := d.columns[i], func(p *point) []*point { return p.left }
			if sweep%2 == 1 {
				column, side = d.columns[len(d.columns)-1-i], func(p *point) []*point { return p.right }
			}
			at := map[*point]float64{}
			for _, p := range column {
				at[p] = middle(side(p), p.y)
			}
			slices.SortStableFunc(column, func(a, b *point) int { return cmp.Compare(at[a], at[b]) })
			number(column)
		}
	}
}

// middle is where points are on average.
func middle(points []*point, otherwise float64) float64 {
	if len(points) == 0 {
		return otherwise
	}
	sum := 0.0
	for _, p := range points {
		sum += p.y
	}
	return sum / float64(len(points))
}

// place gives rows their heights: each point goes where its neighbours are, as
// far as the order and the distance of rows allow.
func (d *drawing) place() {
	x := margin
	for _, column := range d.columns {
		wide, y := 0.0, 0.0
		for _, p := range column {
			p.x, p.y = x, y+p.tall/2
			wide, y = max(wide, p.width), y+p.tall
		}
		for _, p := range column {
			if p.node.Name == "" {
				p.width = wide
			}
		}
		x += wide + columnGap
	}
	for sweep := range sweeps {
		for i := range d.columns {
			if sweep%2 == 1 {
				i = len(d.columns) - 1 - i
			}
			d.settle(d.columns[i])
		}
	}
	d.shift()
	d.placeAlone()
}

// shift moves everything down to below the upper margin.
func (d *drawing) shift() {
	top := math.Inf(1)
	for _, column := range d.columns {
		for _, p := range column {
			top = min(top, p.y)
		}
	}
	for _, column := range d.columns {
		for _, p := range column {
			p.y = math.Round(p.y - top + margin + boxHeight/2)
			d.height = max(d.height, p.y+boxHeight/2)
			d.width = max(d.width, p.x+p.width)
		}
	}
}

// settle moves the points of a column towards their neighbours. Of points that
// want the same place, blocks grow around the middle of what they want.
func (d *drawing) settle(column []*point) {
	type block struct {
		points []*point
		tall   float64 // of all points
		wish   float64 // of where the block begins, summed over the points
	}
	var blocks []block
	start := func(b block) float64 { return b.wish / float64(len(b.points)) }
	for _, p := range column {
		b := block{points: []*point{p}, tall: p.tall, wish: middle(slices.Concat(p.left, p.right), p.y) - p.tall/2}
		for len(blocks) > 0 {
			last := blocks[len(blocks)-1]
			if start(last)+last.tall <= start(b) {
				break
			}
			b.wish += last.wish - float64(len(b.points))*last.tall
			b.points = append(slices.Clone(last.points), b.points...)
			b.tall += last.tall
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		y := start(b)
		for _, p := range b.points {
			p.y = y + p.tall/2
			y += p.tall
		}
	}
}

// placeAlone puts nodes without edges below the rest, row by row.
func (d *drawing) placeAlone() {
	if len(d.alone) == 0 {
		return
	}
	wide := max(aloneWide, d.width)
	x, y := margin, margin+boxHeight/2
	if d.height > 0 {
		y = d.height + rowHeight
	}
	for _, p := range d.alone {
		if x > margin && x+p.width > wide {
			x, y = margin, y+rowHeight
		}
		p.x, p.y = x, y
		x += p.width + margin
		d.width, d.height = max(d.width, p.x+p.width), p.y+boxHeight/2
	}
}

// svgStyle is for light and dark readers alike.
const svgStyle = `<style>
text { font: 12px sans-serif; fill: #1a1a1a; }
rect { fill: #eef3fb; stroke: #4a6fa5; }
.provided { fill: #eefaf0; stroke: #3c8c4c; }
.missing { fill: #fdeeee; stroke: #c0392b; stroke-dasharray: 4 2; }
path { fill: none; stroke: #8a93a3; }
.provides { stroke: #3c8c4c; stroke-dasharray: 4 3; }
.end { fill: #8a93a3; stroke: none; }
</style>
`

func (d *drawing) svg() string {
	var b strings.Builder
	w, h := math.Ceil(d.width+margin), math.Ceil(d.height+margin)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f">`+"\n", w, h, w, h)
	b.WriteString("<title>Elements and what they need</title>\n" + svgStyle)
	b.WriteString(`<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="end" d="M0 0L8 4L0 8z"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, `<rect x="0" y="0" width="%.0f" height="%.0f" style="fill: #ffffff; stroke: none"/>`+"\n", w, h)
	for _, l := range d.lines {
		b.WriteString(l.svg())
	}
	for _, p := range d.points[:d.nodes] {
		name := html.EscapeString(strings.NewReplacer("\uFFFE", "", "\uFFFF", "").Replace(printable(p.node.Name)))
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.0f" rx="%d"/>`, p.node.Kind, p.x, p.y-boxHeight/2, p.width, boxHeight, rounding(p.node.Kind))
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", p.x+p.width/2, p.y+4, name)
	}
	return b.String() + "</svg>\n"
}

func rounding(k NodeKind) int {
	if k == Provided {
		return 11
	}
	return 3
}

// svg draws an edge as a curve through its bends, which it crosses level.
func (l line) svg() string {
	var b strings.Builder
	x := l.path[0].x + l.path[0].width
	fmt.Fprintf(&b, "M%.1f %.1f", x, l.path[0].y)
	for i, p := range l.path[1:] {
		half := (p.x - x) / 2
		fmt.Fprintf(&b, "C%.1f %.1f %.1f %.1f %.1f %.1f", x+half, l.path[i].y, p.x-half, p.y, p.x, p.y)
		if x = p.x + p.width; p.node.Name == "" {
			fmt.Fprintf(&b, "L%.1f %.1f", x, p.y)
		}
	}
	class, end := "needs", "marker-end"
	if l.edge.Provides {
		class = "provides"
	}
	if l.reverse {
		end = "marker-start"
	}
	return fmt.Sprintf(`<path class="%s" d="%s" %s="url(#to)"/>`+"\n", class, b.String(), end)
}
