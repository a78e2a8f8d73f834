package element

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// plant makes elements of "name: dep dep !provided" and gives their directory.
func plant(t testing.TB, elements ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range elements {
		name, rest, _ := strings.Cut(e, ":")
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		var deps, provides string
		for _, word := range strings.Fields(rest) {
			if p, ok := strings.CutPrefix(word, "!"); ok {
				provides += p + "\n"
			} else {
				deps += word + "\n"
			}
		}
		for file, text := range map[string]string{"element-deps": deps, "element-provides": provides} {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestAGraphHoldsWhatAListNeeds(t *testing.T) {
	dir := plant(t, "a: b c", "b: c thing", "c: gone !os", "p: !thing", "q: !thing", "alone:")
	g, err := NewGraph([]string{dir}, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	want := "[{a element []} {b element []} {c element []} {gone missing []} {os provided [c]} {thing provided [p q]}]"
	if got := fmt.Sprint(g.Nodes); got != want {
		t.Errorf("nodes %s, want %s", got, want)
	}
	want = "[{a b false} {a c false} {b c false} {b thing false} {c gone false} {c os true}]"
	if got := fmt.Sprint(g.Edges); got != want {
		t.Errorf("edges %s, want %s", got, want)
	}
	var missing *NotFoundError
	if _, err := NewGraph([]string{dir}, []string{"a", "nobody"}); !errors.As(err, &missing) {
		t.Errorf("a name that is no element gives %v", err)
	}
}

func TestCirclesAreDrawnOnce(t *testing.T) {
	g, err := NewGraph([]string{plant(t, "a: b", "b: c", "c: a c", "free: a")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "free\n  a\n    b\n      c\n        a ...\n        c ...\n"
	if got := g.Text(); got != want {
		t.Errorf("text\n%swant\n%s", got, want)
	}
	if n := strings.Count(g.SVG(), "marker-start="); n != 1 {
		t.Errorf("%d edges point back, want 1", n)
	}
	ring, err := NewGraph([]string{plant(t, "x: y", "y: x")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.Text(); got != "x\n  y\n    x ...\n" {
		t.Errorf("a circle that nothing leads to gives\n%s", got)
	}
}

func TestBoxesOfADrawingStandApart(t *testing.T) {
	var elements []string
	for i := range 60 {
		elements = append(elements, fmt.Sprintf("element-%d: element-%d element-%d element-%d !thing-%d", i, (i*7+3)%60, i/2, i/3, i%5))
	}
	g, err := NewGraph([]string{plant(t, elements...)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	svg := g.SVG()
	if svg != g.SVG() {
		t.Error("the same graph gives two drawings")
	}
	boxes := regexp.MustCompile(`<rect class="\w+" x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)"`).FindAllStringSubmatch(svg, -1)
	if len(boxes) != len(g.Nodes) || len(boxes) < 60 {
		t.Fatalf("%d boxes for %d nodes", len(boxes), len(g.Nodes))
	}
	number := func(s string) float64 {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, a := range boxes {
		for _, b := range boxes[:i] {
			apart := number(a[1]) >= number(b[1])+number(b[3]) || number(b[1]) >= number(a[1])+number(a[3]) ||
				number(a[2]) >= number(b[2])+boxHeight || number(b[2]) >= number(a[2])+boxHeight
			if !apart {
				t.Errorf("%v lies over %v", a, b)
			}
		}
	}
}

func FuzzDrawingsOfAnyNames(f *testing.F) {
	f.Add("a\nb", "os")
	f.Add(`x"\ y<z>&`, "\x1b[31m")
	f.Fuzz(func(t *testing.T, deps, provides string) {
		dir := plant(t, "e:")
		for file, text := range map[string]string{"element-deps": deps, "element-provides": provides} {
			if err := os.WriteFile(filepath.Join(dir, "e", file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		g, err := NewGraph([]string{dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(g.Text()+g.DOT()+g.Mermaid(), "\x1b\x00") {
			t.Error("a drawing steers terminals")
		}
		for d := xml.NewDecoder(strings.NewReader(g.SVG())); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("the drawing is no XML: %v", err)
			}
		}
	})
}
