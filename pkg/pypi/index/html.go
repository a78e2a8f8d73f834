package index

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"slices"
	"strings"

	htmlparser "golang.org/x/net/html"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
)

// maxToken bounds one tag of a page.
const maxToken = 1 << 20

// ParseHTML reads a page of PEP 503 of the named project, which was got from base.
func ParseHTML(text []byte, base *url.URL, name string) (*Project, error) {
	p := &Project{Name: dist.Normalise(name)}
	tokens := htmlparser.NewTokenizer(bytes.NewReader(text))
	tokens.SetMaxBuf(maxToken)
	based := false
	for {
		switch tokens.Next() {
		case htmlparser.ErrorToken:
			if err := tokens.Err(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("reading a page in HTML: %w", err)
			}
			return p, nil
		case htmlparser.StartTagToken, htmlparser.SelfClosingTagToken:
			tag := tokens.Token()
			switch {
			case tag.Data == "base" && !based:
				if u, err := url.Parse(attribute(tag, "href")); err == nil && u.String() != "" {
					next := base.ResolveReference(u)
					if !reachable(base, next) {
						return nil, fmt.Errorf("the page's base %s leads elsewhere", next.Redacted())
					}
					base, based = next, true
				}
			case tag.Data == "a":
				if f, ok := anchor(tag, base); ok {
					p.Files = append(p.Files, f)
				}
				if len(p.Files) > maxFiles {
					return nil, fmt.Errorf("the page has more than %d files", maxFiles)
				}
			case tag.Data == "meta" && attribute(tag, "name") == "pypi:repository-version":
				if v := attribute(tag, "content"); !strings.HasPrefix(v, "1.") {
					return nil, fmt.Errorf("the page speaks version %q of the index API, 1 is known", v)
				}
			}
		}
	}
}

func attribute(tag htmlparser.Token, key string) string {
	value, _ := lookup(tag, key)
	return value
}

func lookup(tag htmlparser.Token, key string) (string, bool) {
	i := slices.IndexFunc(tag.Attr, func(a htmlparser.Attribute) bool { return a.Key == key })
	if i < 0 {
		return "", false
	}
	return tag.Attr[i].Val, true
}

func anchor(tag htmlparser.Token, base *url.URL) (File, bool) {
	f := File{URL: attribute(tag, "href"), RequiresPython: attribute(tag, "data-requires-python")}
	if f.URL == "" {
		return f, false
	}
	f.YankedReason, f.Yanked = lookup(tag, "data-yanked")
	for _, key := range []string{"data-core-metadata", "data-dist-info-metadata"} {
		value, ok := lookup(tag, key)
		if !ok {
			continue
		}
		f.Metadata = value != "false"
		if kind, digest, ok := strings.Cut(value, "="); ok {
			f.MetadataHashes = map[string]string{kind: digest}
		}
		break
	}
	return f, f.accept(base)
}

// ToHTML writes a page of PEP 503, which old readers of indexes understand, too.
func (p *Project) ToHTML() []byte {
	var b bytes.Buffer
	head(&b, "Links for "+p.Name)
	for _, f := range p.Files {
		b.WriteString("<a href=\"" + html.EscapeString(f.URL+fragment(f.Hashes)) + `"`)
		set := func(key, value string) { fmt.Fprintf(&b, " %s=\"%s\"", key, html.EscapeString(value)) }
		if f.RequiresPython != "" {
			set("data-requires-python", f.RequiresPython)
		}
		if f.Metadata {
			value := "true"
			if s := f.MetadataHashes["sha256"]; s != "" {
				value = "sha256=" + s
			}
			set("data-core-metadata", value) // the older name makes pip 23.0 fail (PEP 714)
		}
		if f.Yanked {
			set("data-yanked", f.YankedReason)
		}
		fmt.Fprintf(&b, ">%s</a><br/>\n", html.EscapeString(f.Name))
	}
	b.WriteString("</body>\n</html>\n")
	return b.Bytes()
}

func head(b *bytes.Buffer, title string) {
	title = html.EscapeString(title)
	fmt.Fprintf(b, "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\"/>\n"+
		"<meta name=\"pypi:repository-version\" content=\"1.1\"/>\n<title>%s</title>\n</head>\n<body>\n<h1>%s</h1>\n", title, title)
}

// fragment is #KIND=DIGEST of the best hash.
func fragment(hashes map[string]string) string {
	for _, kind := range []string{"sha256", "sha512", "sha384", "sha224", "sha1", "md5"} {
		if digest := hashes[kind]; digest != "" {
			return "#" + kind + "=" + digest
		}
	}
	return ""
}

// RootHTML writes the list of an index's projects.
func RootHTML(names []string) []byte {
	var b bytes.Buffer
	head(&b, "Simple index")
	for _, n := range names {
		n = html.EscapeString(n)
		fmt.Fprintf(&b, "<a href=\"%s/\">%s</a><br/>\n", n, n)
	}
	b.WriteString("</body>\n</html>\n")
	return b.Bytes()
}
