package requirement

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/version"
)

// Marker is a condition on the environment, as `python_version < "3.9"`. The zero
// value holds everywhere.
type Marker struct{ root node }

// node is a part of a marker.
type node interface{ holds(Environment) bool }

// Environment gives the values of a marker's variables; what is not in it is "".
type Environment map[string]string

type (
	all        []node
	either     []node
	comparison struct {
		left, right operand
		operator    string
	}
	operand struct {
		text     string
		variable bool
	}
)

// Holds tells whether the marker is true in an environment.
func (m Marker) Holds(e Environment) bool { return m.root == nil || m.root.holds(e) }

func (l all) holds(e Environment) bool {
	for _, n := range l {
		if !n.holds(e) {
			return false
		}
	}
	return true
}

func (l either) holds(e Environment) bool {
	for _, n := range l {
		if n.holds(e) {
			return true
		}
	}
	return false
}

func (o operand) in(e Environment) string {
	if o.variable {
		return e[o.text]
	}
	return o.text
}

// holds compares as versions what are versions, and as text the rest.
func (c comparison) holds(e Environment) bool {
	left, right := c.left.in(e), c.right.in(e)
	if c.left == (operand{"extra", true}) || c.right == (operand{"extra", true}) {
		left, right = dist.Normalise(left), dist.Normalise(right)
	}
	switch c.operator {
	case "in":
		return strings.Contains(right, left)
	case "not in":
		return !strings.Contains(right, left)
	}
	if c.versioned() {
		spec, specErr := version.ParseSpecifiers(c.operator + right)
		if v, err := version.Parse(left); err == nil && specErr == nil {
			return spec.Contains(v)
		}
	}
	switch c.operator {
	case "==", "===":
		return left == right
	case "!=":
		return left != right
	case "<":
		return left < right
	case "<=":
		return left <= right
	case ">":
		return left > right
	case ">=":
		return left >= right
	}
	return false
}

// versioned tells whether a version is compared: an extra is none, whatever it is
// called.
func (c comparison) versioned() bool {
	for _, o := range []operand{c.left, c.right} {
		if o.variable && (strings.HasSuffix(o.text, "_version") || o.text == "python_full_version" || o.text == "platform_release") {
			return true
		}
	}
	return false
}

// variables are the names of PEP 508, and the older ones that metadata still has.
var variables = map[string]string{
	"python_version": "python_version", "python_full_version": "python_full_version", "os_name": "os_name",
	"sys_platform": "sys_platform", "platform_release": "platform_release", "platform_system": "platform_system",
	"platform_version": "platform_version", "platform_machine": "platform_machine", "extra": "extra",
	"platform_python_implementation": "platform_python_implementation", "implementation_name": "implementation_name",
	"implementation_version": "implementation_version",
	"os.name":                "os_name", "sys.platform": "sys_platform", "platform.version": "platform_version",
	"platform.machine": "platform_machine", "platform.python_implementation": "platform_python_implementation",
	"python_implementation": "platform_python_implementation",
}

var tokenPattern = regexp.MustCompile(`^\s*(\(|\)|"[^"]*"|'[^']*'|===|~=|==|!=|<=|>=|<|>|[A-Za-z_][A-Za-z_.]*)`)

// maxDepth bounds brackets in brackets.
const maxDepth = 50

// ParseMarker reads a marker.
func ParseMarker(text string) (Marker, error) {
	p := &markerParser{rest: text}
	p.next()
	root, err := p.either(0)
	if err == nil && p.token != "" {
		err = fmt.Errorf("%q is not expected", p.token)
	}
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("%q cannot be read", strings.TrimSpace(p.rest))
	}
	if err != nil {
		return Marker{}, fmt.Errorf("in the marker %q: %w", short(strings.TrimSpace(text)), err)
	}
	return Marker{root}, nil
}

type markerParser struct{ rest, token string }

func (p *markerParser) next() {
	p.token = ""
	if m := tokenPattern.FindStringSubmatch(p.rest); m != nil {
		p.token, p.rest = m[1], p.rest[len(m[0]):]
	}
}

func (p *markerParser) either(depth int) (node, error) {
	first, err := p.all(depth)
	if err != nil {
		return nil, err
	}
	list := either{first}
	for p.token == "or" {
		p.next()
		n, err := p.all(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (p *markerParser) all(depth int) (node, error) {
	first, err := p.one(depth)
	if err != nil {
		return nil, err
	}
	list := all{first}
	for p.token == "and" {
		p.next()
		n, err := p.one(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (p *markerParser) one(depth int) (node, error) {
	if p.token != "(" {
		return p.comparison()
	}
	if depth == maxDepth {
		return nil, errors.New("too many brackets")
	}
	p.next()
	n, err := p.either(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.token != ")" {
		return nil, errors.New("a bracket is not closed")
	}
	p.next()
	return n, nil
}

func (p *markerParser) comparison() (node, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	operator := p.token
	p.next()
	switch operator {
	case "==", "===", "!=", "<", "<=", ">", ">=", "~=", "in":
	case "not":
		if p.token != "in" {
			return nil, errors.New("not stands without in")
		}
		operator = "not in"
		p.next()
	default:
		return nil, fmt.Errorf("%q compares nothing", operator)
	}
	right, err := p.operand()
	if err != nil {
		return nil, err
	}
	return comparison{left, right, operator}, nil
}

func (p *markerParser) operand() (operand, error) {
	token := p.token
	p.next()
	if token == "" {
		return operand{}, errors.New("something is missing")
	}
	if token[0] == '"' || token[0] == '\'' {
		return operand{text: token[1 : len(token)-1]}, nil
	}
	name, ok := variables[token]
	if !ok {
		return operand{}, fmt.Errorf("%q is no variable", token)
	}
	return operand{name, true}, nil
}

// TargetEnvironment gives a marker's variables on Linux with a CPython.
func TargetEnvironment(t *dist.Target) Environment {
	machine := t.Platform
	for _, known := range []string{"x86_64", "aarch64", "armv7l", "i686", "ppc64le", "s390x", "riscv64"} {
		if strings.HasSuffix(t.Platform, known) {
			machine = known
		}
	}
	return Environment{
		"python_version": t.Python, "python_full_version": t.Full, "implementation_version": t.Full,
		"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine,
		"platform_python_implementation": "CPython", "implementation_name": "cpython",
	}
}
