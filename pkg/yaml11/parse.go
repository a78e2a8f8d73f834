package yaml11

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of a document. The largest files of diskimage-builder's own
// elements are a few kilobytes.
const (
	maxBytes = 1 << 20
	maxDepth = 100
	maxNodes = 200_000 // counted as if every alias were written out
)

// Parse reads the one document of a file. Every error is an [*Error]; file
// is what its text calls the file. An empty document is a node of kind Null.
func Parse(file string, data []byte) (*Node, error) {
	p := &parser{file: file, left: maxNodes, known: map[*yaml.Node]*Node{}, open: map[*yaml.Node]bool{}}
	if len(data) > maxBytes {
		return nil, p.errorf(1, 1, "the file is larger than %d bytes", maxBytes)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return &Node{File: file, Line: 1, Column: 1, weight: 1}, nil
	case err != nil:
		return nil, p.syntax(err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, p.errorf(next.Line, next.Column, "the file holds more than one document")
	case !errors.Is(err, io.EOF):
		return nil, p.syntax(err)
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return p.node(doc.Content[0], 0)
	}
	return nil, p.errorf(1, 1, "the file holds no document")
}

type parser struct {
	file  string
	left  int                  // nodes that may still be made
	known map[*yaml.Node]*Node // anchored nodes that are done
	open  map[*yaml.Node]bool  // anchored nodes that are being made
}

func (p *parser) errorf(line, column int, format string, args ...any) error {
	return &Error{p.file, max(line, 1), max(column, 1), fmt.Sprintf(format, args...)}
}

var syntaxPattern = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// syntax gives the library's error the form of ours. It tells the line only.
func (p *parser) syntax(err error) error {
	m := syntaxPattern.FindStringSubmatch(err.Error())
	if m == nil {
		return p.errorf(1, 1, "%v", err)
	}
	line, _ := strconv.Atoi(m[1]) // none given: the first line
	return p.errorf(line, 1, "%s", m[2])
}

// spend takes n nodes from what is left.
func (p *parser) spend(at *yaml.Node, n int) error {
	if n > p.left {
		return p.errorf(at.Line, at.Column, "the file grows to more than %d values", maxNodes)
	}
	p.left -= n
	return nil
}

// node makes the Node of y, which lies depth levels deep.
func (p *parser) node(y *yaml.Node, depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, p.errorf(y.Line, y.Column, "nested more than %d levels deep", maxDepth)
	}
	if y.Kind == yaml.AliasNode {
		return p.alias(y)
	}
	if err := p.spend(y, 1); err != nil {
		return nil, err
	}
	n := &Node{File: p.file, Line: max(y.Line, 1), Column: max(y.Column, 1), weight: 1}
	if y.Anchor != "" {
		p.open[y] = true
		defer delete(p.open, y)
	}
	var err error
	switch y.Kind {
	case yaml.ScalarNode:
		err = p.scalar(n, y)
	case yaml.SequenceNode:
		err = p.list(n, y, depth)
	case yaml.MappingNode:
		err = p.mapping(n, y, depth)
	default:
		err = p.errorf(y.Line, y.Column, "internal error: a node of unknown kind %d", y.Kind)
	}
	if err != nil {
		return nil, err
	}
	if y.Anchor != "" {
		p.known[y] = n
	}
	return n, nil
}

// alias gives the node that an alias stands for. What lies behind it is
// counted again: whoever walks the tree meets it again.
func (p *parser) alias(y *yaml.Node) (*Node, error) {
	n := p.known[y.Alias]
	if n == nil {
		why := "is not defined"
		if p.open[y.Alias] {
			why = "contains itself"
		}
		return nil, p.errorf(y.Line, y.Column, "the anchor %q %s", shorten(y.Value), why)
	}
	return n, p.spend(y, n.weight)
}

func (p *parser) scalar(n *Node, y *yaml.Node) error {
	n.Raw = y.Value
	if y.Style&yaml.TaggedStyle != 0 {
		return p.tagged(n, y)
	}
	n.Kind = String
	if isPlain(y) {
		n.Kind = plainKind(y.Value)
	}
	return nil
}

// tagged gives a scalar the meaning that its tag demands.
func (p *parser) tagged(n *Node, y *yaml.Node) error {
	kinds := map[string]Kind{
		"!!str": String, "!!null": Null, "!!bool": Bool, "!!int": Int, "!!float": Float, "!!timestamp": Timestamp,
	}
	kind, ok := kinds[y.ShortTag()]
	if !ok {
		return p.errorf(y.Line, y.Column, "the tag %s is not supported", shorten(y.Tag))
	}
	n.Kind = kind
	found := plainKind(y.Value)
	whole := found == Int && !strings.ContainsAny(y.Value, "xb") // 0x and 0b are of no float
	if kind == String || kind == Null || kind == found || kind == Float && whole {
		return nil
	}
	return p.errorf(y.Line, y.Column, "%s is not what its tag %s says", shorten(y.Value), y.ShortTag())
}

func isPlain(y *yaml.Node) bool {
	return y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

func (p *parser) collection(n *Node, y *yaml.Node, kind Kind, tag string) error {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != tag {
		return p.errorf(y.Line, y.Column, "the tag %s is not supported", shorten(y.Tag))
	}
	n.Kind = kind
	return nil
}

func (p *parser) list(n *Node, y *yaml.Node, depth int) error {
	if err := p.collection(n, y, List, "!!seq"); err != nil {
		return err
	}
	for _, c := range y.Content {
		if y.Style&yaml.FlowStyle != 0 && endsWithColon(c) {
			c = onePair(c)
		}
		item, err := p.node(c, depth+1)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, item)
		n.weight += item.weight
	}
	return nil
}

func (p *parser) mapping(n *Node, y *yaml.Node, depth int) error {
	if err := p.collection(n, y, Map, "!!map"); err != nil {
		return err
	}
	var own, merged pairs
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if y.Style&yaml.FlowStyle != 0 {
			endKey(k, v)
		}
		key, err := p.node(k, depth+1)
		if err != nil {
			return err
		}
		value, err := p.node(v, depth+1)
		if err != nil {
			return err
		}
		if err := p.entry(&own, &merged, k, Pair{key, value}); err != nil {
			return err
		}
	}
	for _, pair := range own.list {
		merged.put(pair)
	}
	n.Pairs, n.Overridden = merged.list, own.overridden
	for _, pair := range slices.Concat(n.Pairs, n.Overridden) {
		n.weight += pair.Key.weight + pair.Value.weight
	}
	return nil
}

// endKey takes the colon from a key in braces that has nothing behind it, as in
// {a:, b:}: the library takes the colon for a part of the key.
func endKey(k, v *yaml.Node) {
	if endsWithColon(k) && v.Kind == yaml.ScalarNode && isPlain(v) && v.Value == "" && v.Anchor == "" {
		k.Value = strings.TrimRight(strings.TrimSuffix(k.Value, ":"), " \t")
	}
}

func endsWithColon(y *yaml.Node) bool {
	return y.Kind == yaml.ScalarNode && isPlain(y) && strings.HasSuffix(y.Value, ":")
}

// onePair gives the map that [a:] has for an item, where the library has text.
func onePair(y *yaml.Node) *yaml.Node {
	nothing := &yaml.Node{Kind: yaml.ScalarNode, Line: y.Line, Column: y.Column}
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Line: y.Line, Column: y.Column, Content: []*yaml.Node{y, nothing}}
}

// entry puts one entry as it was written where it belongs.
func (p *parser) entry(own, merged *pairs, k *yaml.Node, e Pair) error {
	if isMerge(k) {
		return p.merge(merged, k, e.Value)
	}
	if e.Key.Kind == List || e.Key.Kind == Map {
		return e.Key.Errorf("%s cannot be a key", e.Key.Kind)
	}
	own.put(e)
	return nil
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && isPlain(k) && k.Style&yaml.TaggedStyle == 0
}

// merge puts the entries of a map, or of a list of maps of which the earlier
// win, into m.
func (p *parser) merge(m *pairs, at *yaml.Node, value *Node) error {
	sources := []*Node{value}
	if value.Kind == List {
		sources = value.Items
	}
	for i := len(sources) - 1; i >= 0; i-- {
		if sources[i].Kind != Map {
			return sources[i].Errorf("<< takes a map or a list of maps, not %s", sources[i].Kind)
		}
		if err := p.spend(at, sources[i].weight); err != nil {
			return err
		}
		for _, pair := range sources[i].Pairs {
			m.put(pair)
		}
	}
	return nil
}

// pairs is a map that is being made: a later value takes the place of an
// earlier one, as in Python's dict.
type pairs struct {
	list       []Pair
	overridden []Pair
	index      map[identity]int
}

// identity tells whether two keys are the same.
type identity struct {
	kind Kind
	text string
}

func identityOf(key *Node) identity { return identity{key.Kind, key.Str()} }

func (m *pairs) put(pair Pair) {
	id := identityOf(pair.Key)
	if i, ok := m.index[id]; ok {
		m.overridden = append(m.overridden, m.list[i])
		m.list[i] = pair
		return
	}
	if m.index == nil {
		m.index = map[identity]int{}
	}
	m.index[id] = len(m.list)
	m.list = append(m.list, pair)
}
