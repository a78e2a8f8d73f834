package yaml11_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

func parse(t testing.TB, text string) *yaml11.Node {
	t.Helper()
	n, err := yaml11.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// show writes a tree the way Python's str() would write its scalars, and text in
// quotes.
func show(n *yaml11.Node) string {
	var parts []string
	switch n.Kind {
	case yaml11.List:
		for _, i := range n.Items {
			parts = append(parts, show(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml11.Map:
		for _, p := range n.Pairs {
			parts = append(parts, show(p.Key)+": "+show(p.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml11.String:
		return fmt.Sprintf("%q", n.Raw)
	}
	return n.Str()
}

var scalars = []struct{ text, want string }{
	{"yes", "True"}, {"Off", "False"}, {"oN", `"oN"`}, {"y", `"y"`}, {"n", `"n"`}, {"TRUE", "True"},
	{"'yes'", `"yes"`}, {`"no"`, `"no"`}, {"!!str yes", `"yes"`},
	{"~", "None"}, {"null", "None"}, {"", "None"}, {"nULL", `"nULL"`}, {"'~'", `"~"`}, {"!!null ''", "None"},
	{"0700", "448"}, {"-010", "-8"}, {"0o17", `"0o17"`}, {"08", `"08"`}, {"0", "0"}, {"-0", "0"}, {"0_", "0"},
	{"0x4100", "16640"}, {"0xFFFFFFFFFFFFFFFFF", "295147905179352825855"},
	{"-9223372036854775809", "-9223372036854775809"}, {"400000000000000000:00", "24000000000000000000"}, {"0x_", "0x_"}, {"0b101", "5"}, {"1_000", "1000"},
	{"+12", "12"}, {"12:30", "750"}, {"-1:30", "-90"}, {"190:20:30", "685230"}, {"09:30", `"09:30"`}, {"1:60", `"1:60"`},
	{"8300", "8300"}, {"8E00", `"8E00"`}, {"1e3", `"1e3"`}, {"1.e+3", "1000.0"}, {"1.5", "1.5"}, {".5", "0.5"},
	{"-.5", `"-.5"`}, {".", `"."`}, {"1:30.5", "90.5"}, {".inf", "inf"}, {"-.INF", "-inf"}, {".NaN", "nan"},
	{"1e16", `"1e16"`}, {"1.0e+16", "1e+16"}, {"0.00001", "1e-05"}, {"123456789012345.0", "123456789012345.0"},
	{"!!float 3", "3.0"}, {"2001-12-14", "2001-12-14"}, {"100%", `"100%"`}, {"40G", `"40G"`}, {"1.2.3", `"1.2.3"`},
	{"|\n  12\n", `"12\n"`}, {">-\n  yes\n", `"yes"`},
}

func TestUnquotedScalarsMeanWhatTheyMeanInYAML11(t *testing.T) {
	for _, c := range scalars {
		if got := show(parse(t, "k: "+c.text).Get("k")); got != c.want {
			t.Errorf("%q is %s, want %s", c.text, got, c.want)
		}
	}
}

// document is read by PyYAML and by us, and must come out alike.
const document = `
base: &base {a: 1, b: no}
more: &more
  c: 0700
  a: 12:30
both:
  b: own
  <<: [*base, *more]
  d: [*base, ~, ' x ']
plain:
  <<: *more
  on: x
  5: y
"<<": quoted
? long
: value
text: "multi
  line"
`

func TestOfAKeyGivenTwiceTheLaterValueCountsAndTheEarlierIsTold(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: 2\na: 3\n":           `{"a": 3, "b": 2} 1:1`,
		"0x10: a\n16: b\n0o16: c":      `{16: "b", "0o16": "c"} 1:1`,
		"x: &x {a: 1}\n<<: *x\na: 2\n": `{"a": 2, "x": {"a": 1}}`,
		"'1': a\n1: b\n":               `{"1": "a", 1: "b"}`,
	} {
		n := parse(t, text)
		got := show(n)
		for _, old := range n.Overridden {
			got += fmt.Sprintf(" %d:%d", old.Key.Line, old.Key.Column)
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestMergedKeysComeFirstAndOwnOnesWin(t *testing.T) {
	got := show(parse(t, document).Get("both"))
	want := `{"c": 448, "a": 1, "b": "own", "d": [{"a": 1, "b": False}, None, " x "]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNodesKnowTheirPlace(t *testing.T) {
	n := parse(t, "# head\n- local_loop:\n    name: image0\n    size: \"2\"\n- empty:\n")
	place := func(n *yaml11.Node) string { return fmt.Sprintf("%d:%d", n.Line, n.Column) }
	loop := n.Items[0].Get("local_loop")
	for _, c := range []struct{ what, got, want string }{
		{"list", place(n), "2:1"},
		{"key", place(n.Items[0].Pairs[0].Key), "2:3"},
		{"map", place(loop), "3:5"},
		{"value", place(loop.Get("name")), "3:11"},
		{"quoted", place(loop.Get("size")), "4:11"},
		{"nothing", place(n.Items[1].Pairs[0].Value), "5:9"},
	} {
		if c.got != c.want {
			t.Errorf("%s is at %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestFaultsAreRefusedAtTheirPlace(t *testing.T) {
	deep := strings.Repeat("[", 150) + strings.Repeat("]", 150)
	for _, c := range []struct{ text, want string }{
		{"? [a]\n: b\n", "f.yaml:1:3: a list cannot be a key"},
		{"a: !!set {x}\n", "f.yaml:1:4: the tag !!set is not supported"},
		{"a: !mine x\n", "f.yaml:1:4: the tag !mine is not supported"},
		{"a: !!float 0x1f\n", "f.yaml:1:4: 0x1f is not what its tag !!float says"},
		{"a: !!int x\n", "f.yaml:1:4: x is not what its tag !!int says"},
		{"a: &x {b: *x}\n", `f.yaml:1:11: the anchor "x" contains itself`},
		{"<<: 3\n", "f.yaml:1:5: << takes a map or a list of maps, not a number"},
		{"a: 1\n---\nb: 2\n", "f.yaml:2:1: the file holds more than one document"},
		{"a: *x\n", "f.yaml:1:1: unknown anchor 'x' referenced"},
		{deep, "f.yaml:1:102: nested more than 100 levels deep"},
		{strings.Repeat("#", 1<<20+1), "f.yaml:1:1: the file is larger than 1048576 bytes"},
	} {
		_, err := yaml11.Parse("f.yaml", []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.40q: %v, want %s", c.text, err, c.want)
		}
		if e := new(yaml11.Error); !errors.As(err, &e) {
			t.Errorf("%.40q: %T is no place in a file", c.text, err)
		}
	}
}

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	_, err := yaml11.Parse("f.yaml", []byte("a: 1\nb: [1, 2\nc: 3\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), "yaml: ") {
		t.Errorf("%v", err)
	}
}

func TestAliasesCannotMultiplyWithoutBound(t *testing.T) {
	var lists, merges strings.Builder
	lists.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&lists, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	merges.WriteString("a: &a\n")
	for i := range 1000 {
		fmt.Fprintf(&merges, "  k%d: v\n", i)
	}
	merges.WriteString("b:\n" + strings.Repeat("- {<<: [*a, *a, *a, *a, *a, *a, *a, *a]}\n", 1000))
	for name, text := range map[string]string{"lists": lists.String(), "merges": merges.String()} {
		_, err := yaml11.Parse("f.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "grows to more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnotherKindThanWantedIsAnErrorThatHelps(t *testing.T) {
	n := parse(t, "n: 0700\nb: yes\nl: [a]\ns: text\nnull:\nbig: 99999999999999999999\nx: 0x_\n")
	for _, c := range []struct {
		do   func() error
		want string
	}{
		{func() error { _, err := n.Get("n").Text(); return err }, "f.yaml:1:4: expected text, found a number (0700); put it in quotes"},
		{func() error { _, err := n.Get("b").Text(); return err }, "f.yaml:2:4: expected text, found a truth value (yes); put it in quotes"},
		{func() error { _, err := n.Get("l").Text(); return err }, "f.yaml:3:4: expected text, found a list"},
		{func() error { _, err := n.Get("s").Int(); return err }, "f.yaml:4:4: expected a whole number, found text (text)"},
		{func() error { _, err := n.Get("s").Bool(); return err }, "f.yaml:4:4: expected yes or no, found text (text)"},
		{func() error { _, err := n.Get("s").List(); return err }, "f.yaml:4:4: expected a list, found text (text)"},
		{func() error { _, err := n.Get("s").Entries(); return err }, "f.yaml:4:4: expected a map, found text (text)"},
		{func() error { _, err := n.Get("s").Float(); return err }, "f.yaml:4:4: expected a number, found text (text)"},
		{func() error { _, err := n.Get("big").Int(); return err }, "f.yaml:6:6: 99999999999999999999 is no number that fits in 64 bits"},
		{func() error { _, err := n.Get("x").Int(); return err }, "f.yaml:7:4: 0x_ is no number that fits in 64 bits"},
	} {
		if err := c.do(); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if v, err := n.Get("n").Int(); v != 448 || err != nil {
		t.Error(v, err)
	}
	if v, err := n.Get("b").Bool(); !v || err != nil {
		t.Error(v, err)
	}
	if texts, err := n.Get("l").Texts(); len(texts) != 1 || texts[0] != "a" || err != nil {
		t.Error(texts, err)
	}
}

func TestAnEmptyDocumentIsNull(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~"} {
		if n := parse(t, text); n.Kind != yaml11.Null || n.Line < 1 {
			t.Errorf("%q is %s in line %d", text, n.Kind, n.Line)
		}
	}
}

func FuzzParseAnswersEverythingInBounds(f *testing.F) {
	f.Add([]byte(document))
	for _, c := range scalars {
		f.Add([]byte("- " + c.text))
	}
	f.Add([]byte("a: &a [*a]\n<<: {b: c}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := yaml11.Parse("f", data)
		if err != nil {
			if e := new(yaml11.Error); !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Errorf("%T %v", err, err)
			}
			return
		}
		left := 200_001
		walk(t, n, &left)
	})
}

func walk(t *testing.T, n *yaml11.Node, left *int) {
	if *left--; *left < 0 {
		t.Fatal("the tree is larger than its bound")
	}
	if n.Line < 1 || n.Column < 1 {
		t.Fatalf("place %d:%d", n.Line, n.Column)
	}
	_ = n.Str()
	for _, i := range n.Items {
		walk(t, i, left)
	}
	for _, p := range n.Pairs {
		walk(t, p.Key, left)
		walk(t, p.Value, left)
	}
}
