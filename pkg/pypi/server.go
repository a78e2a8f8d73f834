package pypi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// ServerOptions say what is served.
type ServerOptions struct {
	Mirror  *Mirror
	Sources []Source          // the first that has a project is asked for it; none: offline
	MaxAge  time.Duration     // how long a page holds without asking again
	MaxFile int64             // how large a file may be; 0: DefaultMaxFile
	Log     func(line string) // nil: nobody listens
	Now     func() time.Time
}

// Server is a caching index, an http.Handler. What was asked for once is kept in
// the mirror.
type Server struct {
	mirror  *Mirror
	pages   *pages
	maxFile int64
	tell    func(string)

	ctx    context.Context // ends with the server; downloads outlive their clients
	stop   context.CancelFunc
	busy   sync.WaitGroup
	mu     sync.Mutex
	coming map[string]*download
}

// NewServer makes a server and tidies its mirror, where it may write.
func NewServer(o ServerOptions) (*Server, error) {
	s := &Server{
		mirror: o.Mirror, maxFile: o.MaxFile, tell: o.Log, coming: map[string]*download{},
		pages: &pages{sources: o.Sources, maxAge: o.MaxAge, now: o.Now, known: map[string]*answer{}},
	}
	if s.tell == nil {
		s.tell = func(string) {}
	}
	if s.pages.now == nil {
		return nil, errors.New("internal error: a server without a clock")
	}
	if err := o.Mirror.Tidy(); err != nil {
		if len(o.Sources) > 0 {
			return nil, err
		}
		s.log("%v", err) // reading is enough
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (s *Server) log(format string, args ...any) { s.tell(fmt.Sprintf(format, args...)) }

// Time limits of clients.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	writeTimeout  = time.Minute // for each piece
)

// Serve answers on l until ctx ends, which is no error. Downloads that are under
// way are given up then.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
	}
	unhook := context.AfterFunc(ctx, func() { s.stop(); server.Close() })
	defer unhook()
	err := server.Serve(l)
	s.stop()
	s.busy.Wait()
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve: %w", err)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(plain http.ResponseWriter, r *http.Request) {
	w := &patient{ResponseWriter: plain, control: http.NewResponseController(plain), now: s.pages.now}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, &statusError{http.StatusMethodNotAllowed, "only GET and HEAD are answered"})
		return
	}
	if r.ContentLength != 0 { // nobody reads it, and nobody waits for it
		w.Header().Set("Connection", "close")
		_ = w.control.SetReadDeadline(s.pages.now())
		refuse(w, &statusError{http.StatusRequestEntityTooLarge, "a request has no body here"})
		return
	}
	at, ok := parsePlace(r.URL)
	if !ok {
		refuse(w, &statusError{http.StatusNotFound, "there is no such place"})
		return
	}
	var err error
	switch {
	case at.redirect != "":
		if r.URL.RawQuery != "" {
			at.redirect += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", at.redirect)
		w.WriteHeader(http.StatusMovedPermanently)
	case at.file != "":
		err = s.serveFile(w, r, at.project, at.file)
	case at.project != "":
		err = s.serveProject(w, r, at.project)
	default:
		err = s.serveRoot(w, r)
	}
	if err != nil {
		refuse(w, err)
	}
}

func refuse(w http.ResponseWriter, err error) {
	var status *statusError
	if !errors.As(err, &status) {
		status = &statusError{http.StatusInternalServerError, "the mirror cannot be read"}
	}
	w.Header().Del("ETag")
	http.Error(w, status.text, status.status)
}

// patient gives a client time for each piece, not for the whole.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
}

func (p *patient) Write(b []byte) (int, error) {
	// A writer that knows no deadlines is one of a test's.
	_ = p.control.SetWriteDeadline(p.now().Add(writeTimeout))
	return p.ResponseWriter.Write(b)
}

// place is what a path of a request names.
type place struct{ project, file, redirect string }

// prefixes are where an index may be looked for: at the root, and where others
// have it.
var prefixes = []string{"/simple/", "/pypi/simple/", "/root/pypi/+simple/"}

// parsePlace reads a path: nothing, PROJECT/, or PROJECT/FILE. All else is refused,
// as are names that are none.
func parsePlace(u *url.URL) (place, bool) {
	path := u.EscapedPath()
	prefix := "/"
	for _, p := range prefixes {
		if path+"/" == p {
			return place{redirect: p}, true
		}
		if strings.HasPrefix(path, p) {
			prefix = p
		}
	}
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return place{}, false
	}
	if rest == "" {
		return place{}, true
	}
	escapedName, escapedFile, slash := strings.Cut(rest, "/")
	name, err := url.PathUnescape(escapedName)
	if err != nil || !dist.ValidName(name) {
		return place{}, false
	}
	at := place{project: dist.Normalise(name)}
	if escapedFile == "" {
		if !slash || at.project != name {
			at.redirect = prefix + at.project + "/"
		}
		return at, true
	}
	at.file, err = url.PathUnescape(escapedFile)
	return at, err == nil && dist.IsFile(strings.TrimSuffix(at.file, metadata))
}

func (s *Server) serveRoot(w http.ResponseWriter, r *http.Request) error {
	names, err := s.mirror.Projects()
	if err != nil {
		s.log("%v", err)
		return err
	}
	return s.servePage(w, r, func() []byte { return index.RootJSON(names) }, func() []byte { return index.RootHTML(names) })
}

func (s *Server) serveProject(w http.ResponseWriter, r *http.Request, name string) error {
	p, err := s.page(r.Context(), name)
	if err != nil {
		return err
	}
	for i := range p.Files {
		p.Files[i].Origin = "" // says where others' files lie
	}
	return s.servePage(w, r, p.ToJSON, p.ToHTML)
}

// servePage answers with a page in the type that the client wants most.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request, inJSON, inHTML func() []byte) error {
	accept := r.URL.Query().Get("format")
	if accept == "" {
		accept = strings.Join(r.Header.Values("Accept"), ",")
	}
	kind := index.Negotiate(accept)
	w.Header().Set("Vary", "Accept")
	var text []byte
	switch kind {
	case "":
		return &statusError{http.StatusNotAcceptable, "pages are there as " + index.JSON + ", " + index.HTML + " and " + index.LegacyHTML}
	case index.JSON:
		text = inJSON()
	default:
		text = inHTML()
		if kind == index.LegacyHTML {
			kind += "; charset=utf-8"
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "max-age=0, must-revalidate")
	serveBytes(w, r, text)
	return nil
}
