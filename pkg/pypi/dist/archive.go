package dist

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxMembers bounds how many members of an archive are looked at.
const maxMembers = 200_000

// maxUnpacked bounds how much of an archive of sources is unpacked, in memory
// passed by, to find its metadata.
const maxUnpacked = 4 << 30

// WheelMetadata gives METADATA as it is in a wheel, byte by byte.
func WheelMetadata(r io.ReaderAt, size int64, n Name) ([]byte, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, err)
	}
	var found *zip.File
	for _, f := range z.File {
		dir, name := path.Split(f.Name)
		stem, ok := strings.CutSuffix(strings.TrimSuffix(dir, "/"), ".dist-info")
		if name != "METADATA" || !ok || strings.Contains(stem, "/") {
			continue
		}
		project, _, _ := strings.Cut(stem, "-")
		if Normalise(project) != n.Project {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("reading %s: METADATA is twice in it", n.File)
		}
		found = f
	}
	if found == nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, ErrNoMetadata)
	}
	f, err := found.Open()
	if err != nil {
		return nil, fmt.Errorf("reading METADATA of %s: %w", n.File, err)
	}
	defer f.Close()
	return readSmall(f, n.File)
}

func readSmall(r io.Reader, what string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("reading metadata of %s: %w", what, err)
	}
	if len(text) > MaxMetadata {
		return nil, fmt.Errorf("metadata of %s is larger than %d MiB", what, MaxMetadata>>20)
	}
	return text, nil
}

// Source is what an archive of sources says of itself.
type Source struct {
	PkgInfo   []byte // nil when it has none
	Requires  []byte // setuptools' requires.txt
	PyProject []byte
}

// ReadSource finds the metadata of an archive of sources.
func ReadSource(r io.ReaderAt, size int64, n Name) (*Source, error) {
	s := &Source{}
	var err error
	if strings.HasSuffix(n.File, ".zip") {
		err = s.readZip(r, size, n)
	} else {
		err = s.readTar(io.NewSectionReader(r, 0, size), n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, err)
	}
	return s, nil
}

func (s *Source) readZip(r io.ReaderAt, size int64, n Name) error {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return err
	}
	for _, f := range z.File {
		place := s.place(f.Name)
		if place == nil {
			continue
		}
		body, err := f.Open()
		if err != nil {
			return err
		}
		*place, err = readSmall(body, n.File)
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) readTar(r io.Reader, n Name) error {
	plain, err := decompress(r, n.File)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: plain, N: maxUnpacked}
	t := tar.NewReader(limited)
	for range maxMembers {
		h, err := t.Next()
		switch {
		case limited.N <= 0:
			return errors.New("it unpacks to more than 4 GiB")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case h.Typeflag != tar.TypeReg:
			continue
		}
		if place := s.place(h.Name); place != nil {
			if *place, err = readSmall(t, n.File); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("it has more than %d members", maxMembers)
}

func decompress(r io.Reader, file string) (io.Reader, error) {
	switch {
	case strings.HasSuffix(file, ".gz"), strings.HasSuffix(file, ".tgz"):
		return gzip.NewReader(r)
	case strings.HasSuffix(file, ".bz2"):
		return bzip2.NewReader(r), nil
	}
	return nil, fmt.Errorf("its compression is not known here: %w", ErrNoMetadata)
}

// place tells where the text of a member goes; nil: nowhere. Members lie in one
// directory, NAME-VERSION.
func (s *Source) place(member string) *[]byte {
	parts := strings.Split(strings.TrimPrefix(member, "./"), "/")
	switch {
	case len(parts) == 2 && parts[1] == "PKG-INFO":
		return &s.PkgInfo
	case len(parts) == 2 && parts[1] == "pyproject.toml":
		return &s.PyProject
	case len(parts) >= 3 && len(parts) <= 4 && parts[len(parts)-1] == "requires.txt" && strings.HasSuffix(parts[len(parts)-2], ".egg-info"):
		return &s.Requires
	}
	return nil
}

// Metadata reads what the sources say; dependencies that only setuptools' own
// file names are added.
func (s *Source) Metadata(n Name) (*Metadata, error) {
	if s.PkgInfo == nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, ErrNoMetadata)
	}
	m, err := ParseMetadata(s.PkgInfo)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, err)
	}
	if len(m.RequiresDist) == 0 && !m.Settled() {
		m.RequiresDist = eggRequires(string(s.Requires))
	}
	return m, m.check(n)
}

// eggRequires reads requires.txt: requirements, under [EXTRA:MARKER] from the
// first such line on.
func eggRequires(text string) []string {
	var out []string
	condition := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		section, ok := strings.CutPrefix(line, "[")
		switch {
		case line == "":
		case ok:
			condition = eggCondition(strings.TrimSuffix(section, "]"))
		case condition == "":
			out = append(out, line)
		default:
			out = append(out, line+" ; "+condition)
		}
	}
	return out
}

func eggCondition(section string) string {
	extra, marker, _ := strings.Cut(section, ":")
	var parts []string
	if marker != "" {
		parts = append(parts, "("+marker+")")
	}
	if extra != "" && ValidName(extra) {
		parts = append(parts, fmt.Sprintf("extra == %q", extra))
	}
	return strings.Join(parts, " and ")
}

// ReadMetadata reads the metadata of a wheel, and makes sure that it is of it.
func ReadMetadata(text []byte, n Name) (*Metadata, error) {
	m, err := ParseMetadata(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", n.File, err)
	}
	return m, m.check(n)
}
