package index

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func base(t testing.TB, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var whole = &Project{Name: "leaf", Files: []File{{
	Name: "leaf-1.0-py3-none-any.whl", URL: "https://example.org/simple/leaf/leaf-1.0-py3-none-any.whl",
	Hashes: map[string]string{"sha256": sha}, RequiresPython: ">=3.8,<4", Yanked: true, YankedReason: `broken "badly" <b>`,
	Metadata: true, MetadataHashes: map[string]string{"sha256": sha},
}, {
	Name: "leaf-1.0+local.1.tar.gz", URL: "https://example.org/simple/leaf/leaf-1.0+local.1.tar.gz",
}}}

func TestWhatIsWrittenIsRead(t *testing.T) {
	at := base(t, "https://example.org/simple/leaf/")
	fromHTML, err := ParseHTML(whole.ToHTML(), at, "Leaf")
	if err != nil || !reflect.DeepEqual(fromHTML, whole) {
		t.Errorf("HTML: %+v %v", fromHTML, err)
	}
	fromJSON, err := ParseJSON(whole.ToJSON(), at)
	if err != nil || !reflect.DeepEqual(fromJSON, whole) {
		t.Errorf("JSON: %+v %v", fromJSON, err)
	}
}

func TestPagesOfOthersAreUnderstood(t *testing.T) {
	at := base(t, "https://example.org/simple/leaf/")
	for page, want := range map[string]File{
		`<a href="../../f/leaf-1.0.tar.gz#md5=` + sha[:32] + `">x`:                             {URL: "https://example.org/f/leaf-1.0.tar.gz", Hashes: map[string]string{"md5": sha[:32]}},
		`<a href="leaf-1.0.tar.gz#egg=leaf-1.0&amp;md5=` + sha[:32] + `">`:                     {URL: "https://example.org/simple/leaf/leaf-1.0.tar.gz", Hashes: map[string]string{"md5": sha[:32]}},
		`<BASE HREF="https://other.example.org/"><A HREF='leaf-1.0.tar.gz'>`:                   {URL: "https://other.example.org/leaf-1.0.tar.gz"},
		`<a href="//cdn.example.org/a%20b/leaf-1.0.tar.gz?key=1#sha256=short">`:                {URL: "https://cdn.example.org/a%20b/leaf-1.0.tar.gz?key=1"},
		`<a data-yanked href="leaf-1.0.tar.gz">`:                                               {URL: "https://example.org/simple/leaf/leaf-1.0.tar.gz", Yanked: true},
		`<a data-dist-info-metadata="true" href="leaf-1.0.tar.gz">`:                            {URL: "https://example.org/simple/leaf/leaf-1.0.tar.gz", Metadata: true},
		`<a data-core-metadata="false" data-dist-info-metadata="true" href="leaf-1.0.tar.gz">`: {URL: "https://example.org/simple/leaf/leaf-1.0.tar.gz"},
		`<a href="leaf-1.0.tar.gz" data-requires-python="&gt;=3">`:                             {URL: "https://example.org/simple/leaf/leaf-1.0.tar.gz", RequiresPython: ">=3"},
	} {
		want.Name = "leaf-1.0.tar.gz"
		p, err := ParseHTML([]byte(page), at, "leaf")
		if err != nil || len(p.Files) != 1 || !reflect.DeepEqual(p.Files[0], want) {
			t.Errorf("%s: %+v %v", page, p, err)
		}
	}
}

func TestWhatReachesOutNeverGetsThrough(t *testing.T) {
	at := base(t, "https://example.org/simple/leaf/")
	for _, href := range []string{
		"file:///etc/leaf-1.0.tar.gz", "ftp://example.org/leaf-1.0.tar.gz", "javascript:leaf-1.0.tar.gz", "data:leaf-1.0.tar.gz", "..", "leaf-1.0.tar.gz/",
		"a%2fleaf-1.0.tar.gz%00", "..%2f", "https:///leaf-1.0.tar.gz", "leaf-1.0.exe", ".leaf-1.0.tar.gz", "le%0aaf-1.0.tar.gz",
	} {
		p, err := ParseHTML([]byte(`<a href="`+href+`">x</a>`), at, "leaf")
		if err != nil || len(p.Files) != 0 {
			t.Errorf("%s: %+v %v", href, p, err)
		}
	}
	for _, name := range []string{"../leaf-1.0.tar.gz", "/leaf-1.0.tar.gz", "a/leaf-1.0.tar.gz", "", ".whl", "leaf\x00.whl", strings.Repeat("a", 300) + ".whl"} {
		quoted := strings.ReplaceAll(name, "\x00", `\u0000`)
		p, err := ParseJSON([]byte(`{"files":[{"filename":"`+quoted+`","url":"x.whl"}]}`), at)
		if err != nil || len(p.Files) != 0 {
			t.Errorf("%q: %+v %v", name, p, err)
		}
	}
	for _, page := range []string{`<base href="file:///etc/"><a href="leaf-1.0.tar.gz">`, `<meta name="pypi:repository-version" content="2.0">`} {
		if p, err := ParseHTML([]byte(page), at, "leaf"); err == nil {
			t.Errorf("%s: %+v", page, p)
		}
	}
}

func FuzzHTML(f *testing.F) {
	f.Add(whole.ToHTML())
	f.Add([]byte(`<base href="//x"><a href="a-1.whl#md5=0" data-yanked data-core-metadata=sha256=>`))
	f.Fuzz(func(t *testing.T, page []byte) {
		p, err := ParseHTML(page, base(t, "https://example.org/simple/leaf/"), "leaf")
		if err == nil {
			harmless(t, p)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add(whole.ToJSON())
	f.Add([]byte(`{"meta":{"api-version":"1.9"},"files":[{"filename":"a-1.whl","url":"//","yanked":"x","core-metadata":{"sha256":1}}]}`))
	f.Fuzz(func(t *testing.T, page []byte) {
		p, err := ParseJSON(page, base(t, "https://example.org/simple/leaf/"))
		if err == nil {
			harmless(t, p)
		}
	})
}

// harmless makes sure of what callers rely on, and that pages can be passed on.
func harmless(t *testing.T, p *Project) {
	for _, f := range p.Files {
		if strings.ContainsAny(f.Name, "/\\\x00\n") || strings.HasPrefix(f.Name, ".") || !strings.HasPrefix(f.URL, "http") {
			t.Errorf("%q at %q came through", f.Name, f.URL)
		}
	}
	again, err := ParseHTML(p.ToHTML(), base(t, "https://example.org/"), "leaf")
	if err != nil || len(again.Files) > len(p.Files) {
		t.Errorf("%d files became more: %v", len(p.Files), err)
	}
	if _, err := ParseJSON(p.ToJSON(), base(t, "https://example.org/")); err != nil {
		t.Error(err)
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("text/html;q=0.5, */*")
	f.Fuzz(func(t *testing.T, accept string) {
		switch Negotiate(accept) {
		case "", JSON, HTML, LegacyHTML:
		default:
			t.Error("an unknown type")
		}
	})
}
