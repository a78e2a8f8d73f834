package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxOSReleaseBytes bounds os-release(5), which has some 300 bytes.
const maxOSReleaseBytes = 64 << 10

// maxLinks bounds symbolic links on the way to a file, as Linux does.
const maxLinks = 40

// OSRelease reads what the image says of its operating system, as ID and
// VERSION_CODENAME, from etc/os-release or usr/lib/os-release. It is empty if
// the image has neither.
func (b *Base) OSRelease() (map[string]string, error) {
	fields, err := b.image.OSRelease()
	if err != nil {
		return nil, fmt.Errorf("cannot read os-release of image %s: %w", b.name, err)
	}
	return fields, nil
}

// OSRelease is Base's, for an image without a name.
func (i *Image) OSRelease() (map[string]string, error) {
	s := &search{image: i, known: map[string]entry{}, wanted: map[string]bool{}}
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		s.want(name)
	}
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		content, err := s.read(name)
		if err != nil {
			return nil, err
		}
		if content != nil {
			return parseOSRelease(content), nil
		}
	}
	return map[string]string{}, nil
}

// search finds a few files in the layers, top first, without building the
// tree: it keeps only what it has been told to want, and starts again at the
// top when a link leads elsewhere.
type search struct {
	image  *Image
	known  map[string]entry // what the layers say of a wanted path, after scan
	wanted map[string]bool
	fresh  bool // known covers wanted
}

// entry is a path as the highest layer that has it shows it. A path that no
// layer has, or that is whited out, has the zero kind.
type entry struct {
	kind    kind
	link    string // for a link: its target
	content []byte // for a file
	large   bool   // the file is larger than any os-release
}

type kind int

const (
	absent kind = iota
	folder
	file
	link
	other
)

// want adds a path and the folders above it.
func (s *search) want(name string) {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		if !s.wanted[name] {
			s.wanted[name] = true
			s.fresh = false
		}
	}
}

// read follows links within the tree to a file and gives its content, nil if
// there is no such file.
func (s *search) read(name string) ([]byte, error) {
	for range maxLinks {
		s.want(name)
		if !s.fresh {
			if err := s.scan(); err != nil {
				return nil, err
			}
		}
		next, e := s.step(name)
		if next != "" {
			name = next
			continue
		}
		if e.kind != file {
			return nil, nil
		}
		if e.large {
			return nil, fmt.Errorf("%s has more than %d bytes", name, maxOSReleaseBytes)
		}
		return e.content, nil
	}
	return nil, nil // a loop of links, which opens as no file does
}

// step walks a path from the root. It gives the path that the first link on
// the way leads to, else what lies at the end.
func (s *search) step(name string) (next string, e entry) {
	parts := strings.Split(name, "/")
	for n := range parts {
		at := path.Join(parts[:n+1]...)
		e = s.known[at]
		switch {
		case e.kind == link:
			target := e.link
			if !path.IsAbs(target) {
				target = path.Join("/", path.Dir(at), target)
			}
			next = path.Join(append([]string{target}, parts[n+1:]...)...)
			next = strings.TrimPrefix(path.Clean("/"+next), "/")
			if next == "" {
				return "", entry{kind: folder}
			}
			return next, e
		case n < len(parts)-1 && e.kind != folder && e.kind != absent: // a layer need not list its folders
			return "", entry{}
		}
	}
	return "", e
}

// scan fills known from the layers, top first, until every wanted path is settled.
func (s *search) scan() error {
	clear(s.known)
	hidden := map[string]bool{} // by a layer above, with all that lies below
	for n := len(s.image.manifest.Layers) - 1; n >= 0; n-- {
		if err := s.scanLayer(n, hidden); err != nil {
			return fmt.Errorf("layer %s: %w", s.image.manifest.Layers[n].Digest, err)
		}
		if s.settled(hidden) {
			break
		}
	}
	s.fresh = true
	return nil
}

// settled tells whether no lower layer can say more.
func (s *search) settled(hidden map[string]bool) bool {
	for name := range s.wanted {
		if _, ok := s.known[name]; !ok && !under(name, hidden) {
			return false
		}
	}
	return true
}

// under tells whether a layer above covers a path or a folder above it.
func under(name string, hidden map[string]bool) bool {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		if hidden[name] {
			return true
		}
	}
	return hidden["."]
}

const (
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// scanLayer takes from one layer what the layers above leave open. What the
// layer hides counts from the next one down (image-spec, layer.md, "Whiteouts").
func (s *search) scanLayer(n int, hidden map[string]bool) error {
	rc, err := s.image.tar(n)
	if err != nil {
		return err
	}
	defer rc.Close()
	found := map[string]entry{}
	hides := map[string]bool{}
	r := tar.NewReader(rc)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		if base == opaqueWhiteout {
			hides[dir+"/*"] = true
			continue
		}
		if gone, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
			hides[path.Join(dir, gone)] = true
			continue
		}
		if !s.wanted[name] {
			continue
		}
		if found[name], err = newEntry(h, r); err != nil {
			return err
		}
	}
	// The end of the layer is read so that its digest is checked.
	if _, err := io.Copy(io.Discard, rc); err != nil {
		return err
	}
	s.merge(found, hides, hidden)
	return nil
}

func (s *search) merge(found map[string]entry, hides, hidden map[string]bool) {
	for name, e := range found {
		if _, ok := s.known[name]; !ok && !under(name, hidden) {
			s.known[name] = e
		}
	}
	for name := range s.wanted {
		e, ok := found[name]
		covered := ok && e.kind != folder // a file in place of a folder covers what was in it
		if covered || hides[name] || hides[path.Dir(name)+"/*"] {
			hidden[name] = true
		}
	}
}

func newEntry(h *tar.Header, r io.Reader) (entry, error) {
	switch h.Typeflag {
	case tar.TypeDir:
		return entry{kind: folder}, nil
	case tar.TypeSymlink:
		return entry{kind: link, link: h.Linkname}, nil
	case tar.TypeLink:
		return entry{kind: link, link: path.Clean("/" + h.Linkname)}, nil
	case tar.TypeReg:
		if h.Size > maxOSReleaseBytes {
			return entry{kind: file, large: true}, nil
		}
		b, err := io.ReadAll(r)
		return entry{kind: file, content: append([]byte{}, b...)}, err
	}
	return entry{kind: other}, nil
}

// parseOSRelease reads os-release(5): assignments as a shell would read them,
// without expansion. Lines that are none are passed over.
func parseOSRelease(b []byte) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !isVariable(key) {
			continue
		}
		if value, ok = unquote(value); ok {
			fields[key] = value
		}
	}
	return fields
}

func isVariable(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// unquote takes quotes and backslashes off; not ok if a quote stays open or
// the value holds a control character.
func unquote(s string) (string, bool) {
	var out strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isControl(c):
			return "", false
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '#'):
			return out.String(), true
		case c == '\\' && quote != '\'' && i+1 < len(s) && (quote == 0 || strings.IndexByte("\"$`\\", s[i+1]) >= 0):
			i++
			if isControl(s[i]) {
				return "", false
			}
			out.WriteByte(s[i])
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), quote == 0
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }
