package yaml11_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// judge prints what PyYAML's safe_load makes of each document, in the form of
// show, or the words of its error.
const judge = `
import json, sys, yaml
def text(s):
    for c, mark in ('\\', '\\\\'), ('"', '\\"'): s = s.replace(c, mark)
    return '"' + ''.join(c if ' ' <= c <= '~' else '<%x>' % ord(c) for c in s) + '"'
def show(v):
    if isinstance(v, dict): return '{' + ', '.join(show(k) + ': ' + show(x) for k, x in v.items()) + '}'
    if isinstance(v, list): return '[' + ', '.join(map(show, v)) + ']'
    return text(v) if isinstance(v, str) else str(v)
answers = []
for d in json.load(sys.stdin):
    try: answers.append([show(yaml.safe_load(d)), ''])
    except Exception as e: answers.append(['', ' '.join(str(e).split()) or type(e).__name__])
json.dump(answers, sys.stdout)
`

// plainShow is show with the characters that are not ASCII as judge writes them.
func plainShow(n *yaml11.Node) string {
	var b strings.Builder
	switch n.Kind {
	case yaml11.List, yaml11.Map:
		open, shut := "[", "]"
		if n.Kind == yaml11.Map {
			open, shut = "{", "}"
		}
		var parts []string
		for _, i := range n.Items {
			parts = append(parts, plainShow(i))
		}
		for _, p := range n.Pairs {
			parts = append(parts, plainShow(p.Key)+": "+plainShow(p.Value))
		}
		return open + strings.Join(parts, ", ") + shut
	case yaml11.String:
		for _, c := range strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n.Raw) {
			if ' ' <= c && c <= '~' {
				b.WriteRune(c)
			} else {
				b.WriteString("<" + hex(c) + ">")
			}
		}
		return `"` + b.String() + `"`
	}
	return n.Str()
}

func hex(c rune) string {
	const digits = "0123456789abcdef"
	text := ""
	for ; c > 0 || text == ""; c /= 16 {
		text = digits[c%16:c%16+1] + text
	}
	return text
}

// pyYAML asks PyYAML about documents: what each is, or its error.
func pyYAML(t *testing.T, documents []string) [][2]string {
	t.Helper()
	python := ""
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import yaml").Run() == nil {
			python = name
			break
		}
	}
	if python == "" {
		t.Skip("python3 with PyYAML is not here to compare with (Debian: python3-yaml)")
	}
	in, err := json.Marshal(documents)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", judge)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers [][2]string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(documents) {
		t.Fatalf("%d answers to %d documents: %v", len(answers), len(documents), err)
	}
	return answers
}

// sound are documents that both must read, and read alike.
func sound() []string {
	all := []string{document, "", "# nothing\n", "---\n", "--- a\n...\n", "\ufeffa: 1\n", "a: 1\r\nb: no\r\n", "a:\n  - 1\n  -\n", "a: b # c\n", "a: b#c\n",
		`{"family": {"redhat": {"a": "b c"}, "gentoo": {"a": ""}}, "default": {"a": [1, 2.5, null, true], "\u00e9\n": "/"}}`, "{a:, b:}\n", "{a: , b:,c: d}", "[a:, b]", "a: 'it''s'\n", `a: "\x41\t\u263a\
   b"`, "a: |2-\n   x\n  y\n\n", "a: >\n x\n y\n\n  z\n", "? a\n: b\n", "[a, b, {c: d}, e: f]", "%YAML 1.1\n---\na: yes\n", "a: !!str 1\nb: !!int '0x10'\n",
		"x: &a [1]\ny: &b [2]\nz: [*a, *b]\n", "a: http://x/y:z?b=c\n", "a: x:y\n", "- - a\n  - b\n- c: d\n  e: f\n", "a: [\n1,\n2\n]\n", "<<: {a: 1}\nb: 2\n", "é: ü😀\n"}
	for _, c := range scalars {
		all = append(all, "k: "+c.text)
		if !strings.HasPrefix(c.text, "|") && !strings.HasPrefix(c.text, ">") {
			all = append(all, "["+c.text+"]", c.text+": x\n")
		}
	}
	return all
}

func TestPyYAMLReadsTheSame(t *testing.T) {
	documents := sound()
	for i, a := range pyYAML(t, documents) {
		n, err := yaml11.Parse("f", []byte(documents[i]))
		switch {
		case strings.Contains(documents[i], "0x_"): // ends Python's int(); ours is a text until it is asked for its number
		case a[1] != "" && err == nil:
			t.Errorf("%q\n  here   %s\n  PyYAML %s", documents[i], plainShow(n), a[1])
		case a[1] == "" && err != nil:
			t.Errorf("%q\n  here   %v\n  PyYAML %s", documents[i], err, a[0])
		case err == nil && plainShow(n) != a[0]:
			t.Errorf("%q\n  here   %s\n  PyYAML %s", documents[i], plainShow(n), a[0])
		}
	}
}

// Documents that were damaged at random places are read alike where both read
// them. We refuse little that PyYAML reads: a tab at the beginning of a block of
// text, the escape \/, a directive that nobody knows, a lone question mark or a
// quote in the middle of a key in brackets, and tags that do not fit. We read some
// that it refuses, mostly tabs for blanks, which harms nobody.
func TestPyYAMLReadsTheSameOfWhatIsDamaged(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	whole := sound()
	if checkout := os.Getenv("DIBBER_UPSTREAM"); checkout != "" {
		names, _ := filepath.Glob(filepath.Join(checkout, "diskimage_builder/elements/*/*.yaml"))
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil {
				whole = append(whole, string(data))
			}
		}
	}
	var documents []string
	for range 4000 {
		documents = append(documents, damaged(random, whole[random.IntN(len(whole))]))
	}
	read, laxer := 0, 0
	for i, a := range pyYAML(t, documents) {
		n, err := yaml11.Parse("f", []byte(documents[i]))
		switch {
		case err != nil && a[1] != "":
		case err == nil && a[1] != "":
			laxer++
		case err != nil:
			if !stricter(err.Error()) {
				t.Errorf("%q\n  here   %v\n  PyYAML %s", documents[i], err, a[0])
			}
		case plainShow(n) != a[0]:
			t.Errorf("%q\n  here   %s\n  PyYAML %s", documents[i], plainShow(n), a[0])
		default:
			read++
		}
	}
	if read < 1000 || laxer > 150 {
		t.Errorf("both read %d documents, and we alone %d", read, laxer)
	}
}

// stricter tells whether an error of ours is of what only PyYAML lets pass.
func stricter(message string) bool {
	for _, cause := range []string{"found a tab character where an indentation space is expected", "did not find expected ',' or '}'", "did not find expected ',' or ']'", "is not what its tag", "is not supported",
		"found unknown escape character", "found unknown directive name"} {
		if strings.Contains(message, cause) {
			return true
		}
	}
	return false
}

// damaged puts in, takes out and replaces some characters.
func damaged(r *rand.Rand, text string) string {
	marks := []string{":", ": ", "-", "- ", "\n", " ", "\t", "#", " #", "&a ", "*a", "!!str ", "'", `"`, "|", ">", "{", "}", "[", "]", ",", "? ", "<<: ", "yes",
		"0x1f", "1:20", "~", "%", "@", "`", "=", `\`, "é", "...", "---", "1e3", "1.0e+3", "\r\n", "\r", "\u2028", "\u0085", "0o7", "1_0", "\n...\n", "!x ", "😀"}
	for range 1 + r.IntN(4) {
		at := []rune(text)
		from := r.IntN(len(at) + 1)
		to := min(len(at), from+r.IntN(3))
		mark := marks[r.IntN(len(marks))]
		if r.IntN(3) == 0 {
			mark = ""
		}
		text = string(at[:from]) + mark + string(at[to:])
	}
	return text
}
