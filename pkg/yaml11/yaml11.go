// Package yaml11 reads YAML as PyYAML's safe_load does, because that is what
// every file of diskimage-builder was written for: unquoted yes is true, 0700
// is 448 and 12:30 is 750. It does not write YAML, knows no Go structs, and
// refuses what elements have no use for: the tags !!binary, !!set, !!omap and
// !!pairs, and maps or lists as keys.
//
// One thing is stricter than PyYAML: a document that grows out of all proportion
// (by aliases of aliases, by nesting, by size) is an error. Of a key that is
// given twice the later value counts, as it does there; [Node.Overridden] has
// the earlier one, so that the user can be told.
//
// [Parse] gives a tree of [Node] in which aliases and merge keys are already
// followed. Each node knows its line and column, for errors that read
// FILE:LINE:COLUMN: what is wrong.
package yaml11

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kind tells what a node holds.
type Kind uint8

// The kinds of node. A Timestamp is kept as the text that was written.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Timestamp
	List
	Map
)

// String names the kind with its article, for use in a message.
func (k Kind) String() string {
	switch k {
	case Bool:
		return "a truth value"
	case Int, Float:
		return "a number"
	case String:
		return "text"
	case Timestamp:
		return "a date"
	case List:
		return "a list"
	case Map:
		return "a map"
	}
	return "nothing"
}

// Node is one value of a document. Nodes that an alias reaches are shared, so
// a Node must not be changed.
type Node struct {
	Kind   Kind
	File   string // as given to Parse
	Line   int    // from 1, where the value begins; an alias's is its anchor's
	Column int    // from 1, in characters
	Raw    string // a scalar's text without quotes, before it was given a meaning

	Items []*Node // of a List
	Pairs []Pair  // of a Map, in order, merge keys followed; no key comes twice

	Overridden []Pair // entries of a Map as written whose key comes again after them

	weight int // nodes below and with this one, those behind aliases each time
}

// Pair is one entry of a map.
type Pair struct{ Key, Value *Node }

// Error is a fault at a place in a file.
type Error struct {
	File         string
	Line, Column int
	Message      string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errorf gives an [*Error] at the place of the node.
func (n *Node) Errorf(format string, args ...any) error {
	return &Error{n.File, n.Line, n.Column, fmt.Sprintf(format, args...)}
}

// Get gives the value of a text key of a map, or nil if there is none or n is
// not a map. A value that is null is a node of kind Null.
func (n *Node) Get(key string) *Node {
	for _, p := range n.Pairs {
		if p.Key.Kind == String && p.Key.Raw == key {
			return p.Value
		}
	}
	return nil
}

// Entries gives the entries of a map in order, or an error if n is not one.
func (n *Node) Entries() ([]Pair, error) {
	if n.Kind != Map {
		return nil, n.wanted("a map")
	}
	return n.Pairs, nil
}

// List gives the items of a list, or an error if n is not one.
func (n *Node) List() ([]*Node, error) {
	if n.Kind != List {
		return nil, n.wanted("a list")
	}
	return n.Items, nil
}

// Texts gives the items of a list that holds nothing but text.
func (n *Node) Texts() ([]string, error) {
	items, err := n.List()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(items))
	for i, item := range items {
		if out[i], err = item.Text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Text gives the text of a node. A number, truth value or date is an error,
// which says that quotes would make it text.
func (n *Node) Text() (string, error) {
	if n.Kind != String {
		return "", n.wanted("text")
	}
	return n.Raw, nil
}

// Bool gives the truth value of a node; text such as "true" is an error.
func (n *Node) Bool() (bool, error) {
	if n.Kind != Bool {
		return false, n.wanted("yes or no")
	}
	return truths[strings.ToLower(n.Raw)], nil
}

// Int gives the whole number of a node. It is an error if that is none, does
// not fit in 64 bits or has no digits (0x_).
func (n *Node) Int() (int64, error) {
	if n.Kind != Int {
		return 0, n.wanted("a whole number")
	}
	v, ok := intValue(n.Raw)
	if !ok {
		return 0, n.Errorf("%s is no number that fits in 64 bits", shorten(n.Raw))
	}
	return v, nil
}

// Float gives the number of a node, whole or not.
func (n *Node) Float() (float64, error) {
	switch n.Kind {
	case Float:
		return floatValue(n.Raw), nil
	case Int:
		v, err := n.Int()
		return float64(v), err
	}
	return 0, n.wanted("a number")
}

// Str gives what Python's str() makes of a scalar: "448" for 0700, "True" for
// yes, "None" for null. Text and dates are given as they were written. Of a
// list or map it gives "".
func (n *Node) Str() string {
	switch n.Kind {
	case Null:
		return "None"
	case Bool:
		if truths[strings.ToLower(n.Raw)] {
			return "True"
		}
		return "False"
	case Int:
		if v, ok := intValue(n.Raw); ok {
			return strconv.FormatInt(v, 10)
		}
		return bigText(n.Raw)
	case Float:
		return floatText(floatValue(n.Raw))
	}
	return n.Raw
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "+")
	case f != 0 && (math.Abs(f) < 1e-4 || math.Abs(f) >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// wanted is the error for a node of another kind than the caller can use.
func (n *Node) wanted(what string) error {
	found := n.Kind.String()
	switch n.Kind {
	case Bool, Int, Float, Timestamp, String:
		found += " (" + shorten(n.Raw) + ")"
	}
	hint := ""
	if what == "text" && (n.Kind == Bool || n.Kind == Int || n.Kind == Float || n.Kind == Timestamp) {
		hint = "; put it in quotes"
	}
	return n.Errorf("expected %s, found %s%s", what, found, hint)
}

// shorten keeps a message readable whatever the file holds.
func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
