package pypi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// Source is where a mirror gets pages and files from.
type Source interface {
	// Page gives the page of a project, whose name is normalised. earlier may be
	// a page of before, and is given back when it still holds. ErrNoProject: the
	// source has no such project; any other error: it cannot tell.
	Page(ctx context.Context, name string, earlier *Page) (*Page, error)
	// Open gives the content at an address of a page, or that with ".metadata"
	// behind it, and its size, -1 when it is not told.
	Open(ctx context.Context, address string) (io.ReadCloser, int64, error)
	// String names the source, without a password.
	String() string
}

// Page is a page of a source with what tells whether it still holds.
type Page struct {
	*index.Project
	etag, modified string
}

// ErrNoProject tells that a source has no such project.
var ErrNoProject = errors.New("there is no such project")

// NewSource opens a source: the http or https address of an index, or a directory,
// by path or file: address, of wheels and archives of sources or of a mirror.
func NewSource(location string, c *Client) (Source, error) {
	if !strings.Contains(location, ":") || filepath.IsAbs(location) {
		return newDirectory(location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("cannot use the index %q: it is no address", withoutUser(location))
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("cannot use the index %s: it names no host", withoutUser(location))
		}
		return newWeb(u, c), nil
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("cannot use the index %s: write file:///DIRECTORY", location)
		}
		return newDirectory(u.Path)
	case "":
		return newDirectory(location)
	}
	return nil, fmt.Errorf("cannot use the index %s: neither http, https, file nor a directory", withoutUser(location))
}

// withoutUser takes user and password out of what may be an address.
func withoutUser(location string) string {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		return location
	}
	host, tail, slash := strings.Cut(rest, "/")
	if slash {
		tail = "/" + tail
	}
	return scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + tail
}

// originOf is an address as it may be written down: without a user, and without a
// query, which can be a key.
func originOf(address string) string {
	address, _, _ = strings.Cut(withoutUser(address), "?")
	return address
}

// isDirectory tells whether a source can list all that it has.
func isDirectory(s Source) (*directory, bool) {
	d, ok := s.(*directory)
	return d, ok
}

func statDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err != nil {
		return fmt.Errorf("cannot use the index: %w", err)
	}
	return nil
}

// find asks sources in turn for a project. The first that has it answers; the next
// is asked only when one says that it has none, so that nobody can put a package
// of another in the place of one whose index does not answer.
func find(ctx context.Context, sources []Source, name string, earlier func(Source) *Page) (Source, *Page, error) {
	for _, s := range sources {
		page, err := s.Page(ctx, name, earlier(s))
		if errors.Is(err, ErrNoProject) {
			continue
		}
		return s, page, err
	}
	return nil, nil, ErrNoProject
}
