package lvm

import (
	"errors"
	"fmt"
	"strconv"
)

// section is a part of LVM's configuration text: names with values, and
// sections in it, in their order.
type section struct {
	name     string
	values   map[string]any // int64, float64, string or []any of these
	sections []*section
	byName   map[string]*section
}

// maxDepth bounds sections within sections; metadata has four.
const maxDepth = 8

// parse reads text as lvm.conf(5) describes it.
func parse(text []byte) (*section, error) {
	p := &parser{text: text}
	s, err := p.section("", 0)
	if err != nil {
		return nil, fmt.Errorf("line %d of the metadata: %w", p.line(), err)
	}
	return s, nil
}

// maxItems bounds the names and values of a text.
const maxItems = 1 << 19

type parser struct {
	text  []byte
	at    int
	items int
}

func (p *parser) count() error {
	if p.items++; p.items > maxItems {
		return fmt.Errorf("there are more than %d names and values", maxItems)
	}
	return nil
}

func (p *parser) line() int {
	n := 1
	for _, c := range p.text[:p.at] {
		if c == '\n' {
			n++
		}
	}
	return n
}

// peek gives the next byte that is no blank and no comment, or 0 at the end.
func (p *parser) peek() byte {
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r':
		case '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
			p.at--
		default:
			return c
		}
	}
	return 0
}

// section reads up to the brace that ends it; the outermost ends with the text.
func (p *parser) section(name string, depth int) (*section, error) {
	if depth > maxDepth {
		return nil, errors.New("sections are nested too deeply")
	}
	s := &section{name: name, values: map[string]any{}, byName: map[string]*section{}}
	for {
		switch c := p.peek(); {
		case c == 0 && depth == 0:
			return s, nil
		case c == 0:
			return nil, fmt.Errorf("section %q does not end", name)
		case c == '}' && depth > 0:
			p.at++
			return s, nil
		}
		if err := p.entry(s, depth); err != nil {
			return nil, err
		}
	}
}

// entry reads a section or a value with its name.
func (p *parser) entry(s *section, depth int) error {
	if err := p.count(); err != nil {
		return err
	}
	name, err := p.name()
	if err != nil {
		return err
	}
	if _, ok := s.values[name]; ok || s.byName[name] != nil {
		return fmt.Errorf("%q is there twice", name)
	}
	switch p.peek() {
	case '{':
		p.at++
		inner, err := p.section(name, depth+1)
		if err != nil {
			return err
		}
		s.sections = append(s.sections, inner)
		s.byName[name] = inner
	case '=':
		p.at++
		if s.values[name], err = p.value(); err != nil {
			return fmt.Errorf("value of %q: %w", name, err)
		}
	default:
		return fmt.Errorf("%q has no value", name)
	}
	return nil
}

func (p *parser) name() (string, error) {
	if c := p.peek(); c == '"' || c == '\'' {
		return p.quoted(c)
	}
	start := p.at
	for p.at < len(p.text) && isWord(p.text[p.at]) {
		p.at++
	}
	if start == p.at {
		return "", fmt.Errorf("found %q in place of a name", p.peek())
	}
	return string(p.text[start:p.at]), nil
}

func isWord(c byte) bool {
	switch {
	case c >= 0x80, c <= ' ':
		return false
	case c == '=', c == '{', c == '}', c == '[', c == ']', c == ',', c == '#', c == '"', c == '\'':
		return false
	}
	return true
}

func (p *parser) value() (any, error) {
	if p.peek() != '[' {
		return p.scalar()
	}
	p.at++
	list := []any{}
	for {
		if p.peek() == ']' {
			p.at++
			return list, nil
		}
		v, err := p.scalar()
		if err == nil {
			err = p.count()
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch p.peek() {
		case ',':
			p.at++
		case ']':
		default:
			return nil, errors.New("a list does not end")
		}
	}
}

func (p *parser) scalar() (any, error) {
	if c := p.peek(); c == '"' || c == '\'' {
		return p.quoted(c)
	}
	word, err := p.name()
	if err != nil {
		return nil, errors.New("there is none")
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return n, nil
	}
	if f, err := strconv.ParseFloat(word, 64); err == nil {
		return f, nil
	}
	return word, nil
}

// quoted reads text between quotes. In double ones a backslash takes the byte
// after it as it is.
func (p *parser) quoted(quote byte) (string, error) {
	p.at++
	var out []byte
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == quote:
			p.at++
			return string(out), nil
		case c == '\\' && quote == '"' && p.at+1 < len(p.text):
			p.at++
			out = append(out, p.text[p.at])
		default:
			out = append(out, c)
		}
	}
	return "", errors.New("a quote does not end")
}

// number gives a whole number that is not negative.
func (s *section) number(name string) (int64, error) {
	n, ok := s.values[name].(int64)
	if !ok || n < 0 {
		return 0, fmt.Errorf("%s has no number %q", s.title(), name)
	}
	return n, nil
}

func (s *section) text(name string) string {
	text, _ := s.values[name].(string)
	return text
}

// texts gives the texts of a list.
func (s *section) texts(name string) []string {
	list, _ := s.values[name].([]any)
	var out []string
	for _, v := range list {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

func (s *section) title() string { return fmt.Sprintf("section %q", s.name) }

// children gives the sections within the one of that name.
func (s *section) children(name string) []*section {
	if inner := s.byName[name]; inner != nil {
		return inner.sections
	}
	return nil
}
