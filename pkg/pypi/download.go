package pypi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// held is how much of a file is held back until its hash is known to be right: a
// client never has the whole of a wrong one.
const held = 64 << 10

// download is one file that is coming, for as many clients as ask for it.
type download struct {
	mu     sync.Mutex
	news   sync.Cond
	in     *incoming
	users  int
	size   int64 // -1: not told
	total  int64
	ended  bool
	err    error
	result index.File
}

// serveFile answers with a file, or with FILE.metadata.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, project, file string) error {
	wheel, describes := strings.CutSuffix(file, metadata)
	if describes {
		file = wheel
	}
	if _, err := dist.ParseName(file, project); err != nil {
		return &statusError{http.StatusNotFound, fmt.Sprintf("%s has no file %s", project, file)}
	}
	done, err := s.serveKept(w, r, project, file, describes)
	if done || err != nil {
		return err
	}
	promised, source, err := s.promised(r.Context(), project, file)
	if err != nil {
		return err
	}
	switch {
	case describes && !promised.Metadata && s.offersMetadata(project, file):
		return s.serveMetadataWhenCome(w, r, project, promised, source)
	case describes:
		return s.serveForeignMetadata(w, r, promised, source)
	case r.Method == http.MethodHead:
		fileHeader(w, promised)
		if promised.Size > 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(promised.Size, 10))
		}
		return nil
	}
	d := s.download(project, promised, source)
	defer d.leave()
	if r.Header.Get("Range") != "" {
		return s.serveWhenCome(w, r, project, d)
	}
	return d.stream(w, r, promised)
}

// serveKept answers with a kept file; false: it has to be got.
func (s *Server) serveKept(w http.ResponseWriter, r *http.Request, project, file string, describes bool) (bool, error) {
	kept, ok, err := s.mirror.find(project, file)
	if err != nil {
		s.log("%v", err)
		return false, err
	}
	if !ok {
		return false, nil
	}
	if page, _ := s.pages.last(project); page != nil {
		if promised, ok := named(page.Project, file); ok && !agree(kept, promised) {
			return false, nil // there is another of that name by now
		}
	}
	f, err := s.mirror.open(project, kept)
	if err != nil {
		s.log("%v", err)
		if len(s.pages.sources) > 0 {
			return false, nil // got again, in its place
		}
		return false, &statusError{http.StatusGone, fmt.Sprintf("%s is damaged in the mirror, and no index is asked (offline)", file)}
	}
	defer f.Close()
	if !describes {
		fileHeader(w, kept)
		http.ServeContent(w, r, file, time.Time{}, f)
		return true, nil
	}
	return true, s.serveMetadata(w, r, project, kept, f)
}

// serveMetadata answers with METADATA of a kept wheel.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request, project string, kept index.File, f io.ReaderAt) error {
	text, err := s.mirror.metadataOf(project, kept, f)
	if err != nil {
		s.log("%v", err)
		return &statusError{http.StatusNotFound, kept.Name + " has no metadata"}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	serveBytes(w, r, text)
	return nil
}

// offersMetadata tells whether the pages of this server offer FILE.metadata, which
// they do for any wheel that was kept, whatever its own index offers.
func (s *Server) offersMetadata(project, file string) bool {
	kept, ok, err := s.mirror.find(project, file)
	return err == nil && ok && kept.Metadata
}

// serveMetadataWhenCome gets a wheel again that is damaged in the mirror, for its
// METADATA.
func (s *Server) serveMetadataWhenCome(w http.ResponseWriter, r *http.Request, project string, promised index.File, source Source) error {
	d := s.download(project, promised, source)
	defer d.leave()
	f, err := s.openWhenCome(r.Context(), project, d)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.serveMetadata(w, r, project, d.result, f)
}

// fileHeader tells of a file what clients ask next time.
func fileHeader(w http.ResponseWriter, f index.File) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Accept-Ranges", "bytes")
	if digest := f.SHA256(); digest != "" {
		w.Header().Set("ETag", `"`+digest+`"`)
	}
}

func serveBytes(w http.ResponseWriter, r *http.Request, text []byte) {
	w.Header().Set("ETag", `"`+digest(text)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
}

// promised finds a file that is not kept on the page of a source.
func (s *Server) promised(ctx context.Context, project, file string) (index.File, Source, error) {
	absent := &statusError{http.StatusNotFound, fmt.Sprintf("%s has no file %s", project, file)}
	if len(s.pages.sources) == 0 {
		absent.text = fmt.Sprintf("%s is not kept in the mirror, and no index is asked (offline)", file)
		return index.File{}, nil, absent
	}
	page, source := s.pages.last(project)
	if page != nil {
		if f, ok := named(page.Project, file); ok {
			return f, source, nil
		}
	}
	page, source, err := s.pages.get(ctx, project)
	if errors.Is(err, ErrNoProject) {
		return index.File{}, nil, absent
	}
	if err != nil {
		s.log("%v; %s is not kept", err, file)
		return index.File{}, nil, &statusError{http.StatusBadGateway, fmt.Sprintf("the index cannot be asked for %s, and it is not kept in the mirror", file)}
	}
	f, ok := named(page.Project, file)
	if !ok {
		return f, nil, absent
	}
	return f, source, nil
}

// metadataOf gives METADATA of a kept wheel, from beside it or from within.
func (m *Mirror) metadataOf(project string, kept index.File, f io.ReaderAt) ([]byte, error) {
	text, err := m.root.ReadFile(path.Join(project, kept.Name+metadata))
	if want := kept.MetadataHashes["sha256"]; err == nil && want != "" && digest(text) == want {
		return text, nil
	}
	n, err := dist.ParseName(kept.Name, project)
	if err != nil {
		return nil, err
	}
	return dist.WheelMetadata(f, kept.Size, n)
}

// serveForeignMetadata passes FILE.metadata on. It is kept when its wheel is.
func (s *Server) serveForeignMetadata(w http.ResponseWriter, r *http.Request, f index.File, source Source) error {
	if !f.Metadata {
		return &statusError{http.StatusNotFound, "the index has no metadata of " + f.Name}
	}
	text, err := foreignMetadata(r.Context(), source, f)
	if err != nil {
		s.log("%v", err)
		return &statusError{http.StatusBadGateway, "the index does not give the metadata of " + f.Name}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	serveBytes(w, r, text)
	return nil
}

func foreignMetadata(ctx context.Context, source Source, f index.File) ([]byte, error) {
	body, _, err := source.Open(ctx, f.URL+metadata)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, dist.MaxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("metadata of %s from %s: %w", f.Name, source, err)
	}
	if len(text) > dist.MaxMetadata {
		return nil, fmt.Errorf("metadata of %s from %s is larger than %d MiB", f.Name, source, dist.MaxMetadata>>20)
	}
	if want := f.MetadataHashes["sha256"]; want != "" && digest(text) != want {
		return nil, &HashError{f.Name + metadata, source.String(), "sha256", digest(text), want}
	}
	return text, nil
}

// download joins the download of a file, or begins it. leave must be called.
func (s *Server) download(project string, f index.File, source Source) *download {
	key := project + "/" + f.Name
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.coming[key]; d != nil && d.join() {
		return d
	}
	d := &download{size: -1, users: 2} // the caller and the goroutine below
	d.news.L = &d.mu
	s.coming[key] = d
	s.busy.Add(1)
	go func() {
		defer s.busy.Done()
		defer d.leave()
		g := &fetching{mirror: s.mirror, source: source, project: project, file: f, max: s.maxFile, started: d.started, came: d.came}
		result, err := g.run(s.ctx)
		if err != nil {
			s.log("%v", err)
		} else {
			s.log("kept %s from %s", f.Name, source)
		}
		s.mu.Lock()
		if s.coming[key] == d {
			delete(s.coming, key)
		}
		s.mu.Unlock()
		d.end(result, err)
	}()
	return d
}

func (d *download) join() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return false
	}
	d.users++
	return true
}

func (d *download) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users--; d.users == 0 && d.in != nil {
		d.in.Close()
	}
}

func (d *download) started(in *incoming, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in, d.size = in, size
	d.news.Broadcast()
}

func (d *download) came(total int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total = total
	d.news.Broadcast()
}

func (d *download) end(f index.File, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.result, d.err = true, f, err
	d.news.Broadcast()
}

// wait waits until there is more than offset bytes for clients, or the end.
func (d *download) wait(ctx context.Context, offset int64) (available int64, ended bool, err error) {
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.news.Broadcast()
	})
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return 0, false, ctx.Err()
		case d.ended:
			return d.total, true, d.err
		case d.total-held > offset:
			return d.total - held, false, nil
		}
		d.news.Wait()
	}
}

// failure is what a client is told of a download that failed.
func failure(f index.File, err error) error {
	var hash *HashError
	if errors.As(err, &hash) {
		return &statusError{http.StatusBadGateway, fmt.Sprintf("what the index sent as %s is not what its page promises (%s)", f.Name, hash.Kind)}
	}
	return &statusError{http.StatusBadGateway, fmt.Sprintf("the index does not give %s", f.Name)}
}

// stream sends a file as it comes, and its last part when it is known to be right.
func (d *download) stream(w http.ResponseWriter, r *http.Request, promised index.File) error {
	available, ended, err := d.wait(r.Context(), 0)
	if err != nil {
		return failure(promised, err)
	}
	fileHeader(w, promised)
	d.mu.Lock()
	size := d.size
	d.mu.Unlock()
	if ended {
		size = available
	}
	if size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	for offset := int64(0); ; {
		n, err := io.Copy(w, io.NewSectionReader(d.in, offset, available-offset))
		if offset += n; err != nil || ended {
			return nil // a client that went away is told nothing
		}
		if available, ended, err = d.wait(r.Context(), offset); err != nil {
			panic(http.ErrAbortHandler) // the one way to tell that it is not whole
		}
	}
}

// serveWhenCome answers with a part of a file when all of it has come.
func (s *Server) serveWhenCome(w http.ResponseWriter, r *http.Request, project string, d *download) error {
	f, err := s.openWhenCome(r.Context(), project, d)
	if err != nil {
		return err
	}
	defer f.Close()
	fileHeader(w, d.result)
	http.ServeContent(w, r, d.result.Name, time.Time{}, f)
	return nil
}

// openWhenCome waits for the end of a download and opens what it left in the mirror.
func (s *Server) openWhenCome(ctx context.Context, project string, d *download) (*os.File, error) {
	for offset := int64(0); ; {
		available, ended, err := d.wait(ctx, offset)
		if err != nil {
			return nil, failure(d.result, err)
		}
		if offset = available; ended {
			break
		}
	}
	f, err := s.mirror.open(project, d.result)
	if err != nil {
		s.log("%v", err)
		return nil, err
	}
	return f, nil
}
