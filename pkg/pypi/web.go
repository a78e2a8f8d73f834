package pypi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// web is a source: a simple index over http.
type web struct {
	base   *url.URL
	client *Client
}

func newWeb(u *url.URL, c *Client) *web {
	return &web{base: c.remember(u), client: c}
}

func (w *web) String() string { return w.base.String() }

// accept asks for JSON where an index has it, as pip does.
const accept = index.JSON + ", " + index.HTML + ";q=0.2, text/html;q=0.1"

func (w *web) Page(ctx context.Context, name string, earlier *Page) (*Page, error) {
	header := http.Header{"Accept": {accept}, "Cache-Control": {"max-age=0"}}
	if earlier != nil && earlier.etag != "" {
		header.Set("If-None-Match", earlier.etag)
	} else if earlier != nil && earlier.modified != "" {
		header.Set("If-Modified-Since", earlier.modified)
	}
	answer, err := w.client.get(ctx, w.base.JoinPath(name, "/"), header)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s: %w", w, name, err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotModified && earlier != nil:
		return earlier, nil
	case answer.StatusCode == http.StatusNotFound, answer.StatusCode == http.StatusGone:
		return nil, ErrNoProject
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking %s for %s: it answered %s", w, name, answer.Status)
	}
	page, err := readPage(answer, name)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s: %w", w, name, err)
	}
	return page, nil
}

func readPage(answer *http.Response, name string) (*Page, error) {
	if answer.ContentLength > index.MaxPage {
		return nil, fmt.Errorf("its page has %d bytes", answer.ContentLength)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, index.MaxPage+1))
	if err != nil {
		return nil, err
	}
	if len(text) > index.MaxPage {
		return nil, fmt.Errorf("its page has more than %d MiB", index.MaxPage>>20)
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	var p *index.Project
	switch {
	case kind == index.JSON:
		p, err = index.ParseJSON(text, answer.Request.URL)
	case kind == index.HTML, kind == "text/html", kind == "application/xhtml+xml":
		p, err = index.ParseHTML(text, answer.Request.URL, name)
	default:
		err = fmt.Errorf("it answered with %q, which is no page of an index", kind)
	}
	if err != nil {
		return nil, err
	}
	p.Name = name
	return &Page{Project: p, etag: answer.Header.Get("ETag"), modified: answer.Header.Get("Last-Modified")}, nil
}

func (w *web) Open(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, 0, errors.New("a page leads to what is neither http nor https")
	}
	if u.User != nil && u.Host != w.base.Host {
		u.User = nil
	}
	answer, err := w.client.get(ctx, w.client.remember(u), http.Header{"Accept-Encoding": {"identity"}})
	if err != nil {
		return nil, 0, fmt.Errorf("asking for %s: %w", originOf(address), err)
	}
	encoded := answer.Header.Get("Content-Encoding")
	switch {
	case answer.StatusCode != http.StatusOK:
		err = fmt.Errorf("asking for %s: the answer is %s", originOf(address), answer.Status)
	case encoded != "" && !strings.EqualFold(encoded, "identity"):
		err = fmt.Errorf("asking for %s: it came packed as %s, which nobody asked for", originOf(address), encoded)
	}
	if err != nil {
		answer.Body.Close()
		return nil, 0, err
	}
	return answer.Body, answer.ContentLength, nil
}
