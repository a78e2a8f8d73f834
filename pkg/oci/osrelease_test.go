package oci

import (
	"maps"
	"strings"
	"testing"
)

func TestOSReleaseIsWhatTheMergedLayersShow(t *testing.T) {
	release := func(id string) item { return item{name: "usr/lib/os-release", content: "ID=" + id} }
	etc := item{name: "etc/os-release", link: "../usr/lib/os-release"}
	cases := []struct {
		what   string
		layers [][]item
		want   string // the ID; "" for none
	}{
		{"a link to a file", [][]item{{etc, release("a")}}, "a"},
		{"no folders' own entries", [][]item{{{name: "etc/os-release", content: "ID=a"}}}, "a"},
		{"only the file of the vendor", [][]item{{release("a")}}, "a"},
		{"etc before usr", [][]item{{release("a"), {name: "etc/os-release", content: "ID=b"}}}, "b"},
		{"the upper layer's", [][]item{{etc, release("a")}, {release("b")}}, "b"},
		{"the link from above, the file from below", [][]item{{release("a")}, {etc}}, "a"},
		{"names with ./ before them", [][]item{{{name: "./etc/os-release", content: "ID=a"}}}, "a"},
		{"whited out", [][]item{{release("a")}, {{name: "usr/lib/.wh.os-release"}}}, ""},
		{"whited out and made anew", [][]item{{release("a")}, {{name: "usr/lib/.wh.os-release"}}, {release("b")}}, "b"},
		{"whiteout and file in one layer", [][]item{{release("a")}, {release("b"), {name: "usr/lib/.wh.os-release"}}}, "b"},
		{"a folder whited out", [][]item{{release("a")}, {{name: "usr/.wh.lib"}}}, ""},
		{"an opaque folder", [][]item{{release("a")}, {{name: "usr/lib/"}, {name: "usr/lib/.wh..wh..opq"}}}, ""},
		{"an opaque folder above", [][]item{{release("a")}, {{name: "usr/"}, {name: "usr/.wh..wh..opq"}}}, ""},
		{"the root opaque", [][]item{{release("a")}, {{name: ".wh..wh..opq"}}}, ""},
		{"a file in place of the folder", [][]item{{release("a")}, {{name: "usr/lib"}}}, ""},
		{"a file in place of the folder, and a folder again", [][]item{{release("a")}, {{name: "usr/lib"}}, {{name: "usr/lib/"}}}, ""},
		{"a merged folder", [][]item{{{name: "etc/os-release", link: "/lib/os-release"}, {name: "lib", link: "usr/lib"}, {name: "usr/"}, {name: "usr/lib/"}, release("a")}}, "a"},
		{"a link out of the tree", [][]item{{{name: "etc/os-release", link: "../../../../usr/lib/os-release"}, {name: "usr/"}, {name: "usr/lib/"}, release("a")}}, "a"},
		{"a link to the host's", [][]item{{{name: "etc/os-release", link: "/proc/1/root/etc/os-release"}}}, ""},
		{"a loop of links", [][]item{{{name: "etc/os-release", link: "os-release"}, {name: "usr/lib/os-release", link: "/etc/os-release"}}}, ""},
		{"a hard link", [][]item{{{name: "etc/os-release", link: "hard:usr/lib/os-release"}, {name: "usr/"}, {name: "usr/lib/"}, release("a")}}, "a"},
		{"a folder by that name", [][]item{{{name: "etc/os-release/"}}}, ""},
		{"a link to the root", [][]item{{{name: "etc/os-release", link: "/"}}}, ""},
		{"nothing", [][]item{{{name: "other"}}}, ""},
	}
	for _, c := range cases {
		for _, gz := range []bool{true, false} {
			var layers []Layer
			for _, items := range c.layers {
				items = append([]item{{name: "etc/"}, {name: "usr/"}}, items...)
				if c.what != "a file in place of the folder" && !strings.Contains(c.what, "no folders") {
					layers = append(layers, layerOf(t, items...))
					continue
				}
				layers = append(layers, layerOf(t, items[2:]...))
			}
			fields, err := build(t, Config{Gzip: gz}, layers...).OSRelease()
			if err != nil || fields["ID"] != c.want {
				t.Errorf("%s: got %v, %v; want ID=%s", c.what, fields, err, c.want)
			}
		}
	}
}

func TestAHugeOSReleaseIsRefused(t *testing.T) {
	image := build(t, Config{}, layerOf(t, item{name: "etc/"}, item{name: "etc/os-release", content: strings.Repeat("A=b\n", maxOSReleaseBytes)}))
	_, err := (&Base{name: "debian", image: image}).OSRelease()
	wantError(t, err, "image debian", "more than")
}

func TestOSReleaseIsReadAsAShellWould(t *testing.T) {
	text := `# a comment
NAME="Debian GNU/Linux"
ID=debian
  VERSION_ID='12'
ESCAPED="a \"b\" \$c \\ \d"
PLAIN=a\ b
SINGLE='a \ b'
JOINED=a"b c"'d'
TAIL=x # comment
EMPTY=
OPEN="never closed
1BAD=x
NOT AN ASSIGNMENT
BELL="` + "\a" + `"
ID=debian2
`
	want := map[string]string{
		"NAME": "Debian GNU/Linux", "ID": "debian2", "VERSION_ID": "12", "ESCAPED": `a "b" $c \ \d`,
		"PLAIN": "a b", "SINGLE": `a \ b`, "JOINED": "ab cd", "TAIL": "x", "EMPTY": "",
	}
	if got := parseOSRelease([]byte(text)); !maps.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add([]byte("ID=debian\nNAME=\"a\\\"b\"\n"))
	f.Add([]byte("A='\\"))
	f.Add([]byte("A=\\\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for key, value := range parseOSRelease(b) {
			if !isVariable(key) || strings.ContainsAny(value, "\x00\n\x1b\x7f") {
				t.Errorf("%q gave %q=%q", b, key, value)
			}
		}
	})
}
