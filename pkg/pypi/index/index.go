// Package index reads and writes the pages of a Python package index: the HTML
// of PEP 503 and the JSON of PEP 691, with what PEPs 592, 658, 700 and 714 added.
//
// It fetches nothing. What it reads is hostile: names that could reach out of a
// directory and addresses other than http, https or file never get through.
package index

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
)

// Project is the page of one project.
type Project struct {
	Name  string
	Files []File
}

// File is one file on a page.
type File struct {
	Name           string
	URL            string            // absolute after reading
	Hashes         map[string]string // kind to hexadecimal digest, all in lower case
	Size           int64             // 0: not told
	RequiresPython string
	Yanked         bool
	YankedReason   string
	Metadata       bool              // FILE.metadata is beside it
	MetadataHashes map[string]string // of FILE.metadata
	UploadTime     string
	Origin         string // where it was got from; pages of a mirror alone have it
}

// Limits of a page.
const (
	MaxPage  = 64 << 20
	maxFiles = 200_000
)

// The types of pages.
const (
	JSON       = "application/vnd.pypi.simple.v1+json"
	HTML       = "application/vnd.pypi.simple.v1+html"
	LegacyHTML = "text/html"
)

// SHA256 is the digest by which files are kept; "" when it is not told.
func (f File) SHA256() string { return f.Hashes["sha256"] }

// digestLengths are the kinds of hashes that are believed, strongest first, and
// the lengths of their digests.
var digestLengths = map[string]int{"sha512": 64, "sha384": 48, "sha256": 32, "sha224": 28, "sha1": 20, "md5": 16}

func cleanHashes(in map[string]string) map[string]string {
	out := map[string]string{}
	for kind, digest := range in {
		kind, digest = strings.ToLower(kind), strings.ToLower(digest)
		b, err := hex.DecodeString(digest)
		if err == nil && digestLengths[kind] == len(b) && len(b) > 0 {
			out[kind] = digest
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// accept checks a file that was read and resolves its address; false: it is not
// for us.
func (f *File) accept(base *url.URL) bool {
	ref, err := url.Parse(strings.TrimSpace(f.URL))
	if err != nil {
		return false
	}
	u := base.ResolveReference(ref)
	hashes := map[string]string{}
	for kind, digest := range f.Hashes {
		hashes[kind] = digest
	}
	for part := range strings.SplitSeq(u.Fragment, "&") {
		if kind, digest, ok := strings.Cut(part, "="); ok && len(f.Hashes) == 0 {
			hashes[kind] = digest
		}
	}
	u.Fragment, u.RawFragment = "", ""
	if f.Name == "" {
		f.Name = u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	}
	if !dist.IsFile(f.Name) || !reachable(base, u) || f.Size < 0 {
		return false
	}
	f.URL, f.Hashes, f.MetadataHashes = u.String(), cleanHashes(hashes), cleanHashes(f.MetadataHashes)
	return true
}

// reachable tells whether a page may lead to u: to http and https, and to files
// from a page that is a file itself.
func reachable(base, u *url.URL) bool {
	switch u.Scheme {
	case "http", "https":
		return u.Host != ""
	case "file":
		return base.Scheme == "file"
	}
	return false
}

// document is a page in JSON.
type document struct {
	Meta     map[string]string `json:"meta"`
	Name     string            `json:"name"`
	Versions []string          `json:"versions,omitempty"`
	Files    []documentFile    `json:"files"`
}

type documentFile struct {
	Filename         string            `json:"filename"`
	URL              string            `json:"url"`
	Hashes           map[string]string `json:"hashes"`
	RequiresPython   string            `json:"requires-python,omitempty"`
	Size             int64             `json:"size,omitempty"`
	UploadTime       string            `json:"upload-time,omitempty"`
	Yanked           any               `json:"yanked,omitempty"`
	CoreMetadata     any               `json:"core-metadata,omitempty"`
	DistInfoMetadata any               `json:"dist-info-metadata,omitempty"`      // read only, as pip 23.0 fails over it (PEP 714)
	DataDistInfo     any               `json:"data-dist-info-metadata,omitempty"` // read only: old servers' name for it
	Origin           string            `json:"_origin,omitempty"`
}

// ParseJSON reads a page of PEP 691, which was got from base.
func ParseJSON(text []byte, base *url.URL) (*Project, error) {
	var d document
	loose := struct {
		*document
		Meta map[string]any `json:"meta"`
	}{document: &d}
	if err := json.Unmarshal(text, &loose); err != nil {
		return nil, fmt.Errorf("reading a page in JSON: %w", err)
	}
	if v, ok := loose.Meta["api-version"].(string); ok && !strings.HasPrefix(v, "1.") {
		return nil, fmt.Errorf("the page speaks version %q of the index API, 1 is known", v)
	}
	if len(d.Files) > maxFiles {
		return nil, fmt.Errorf("the page has more than %d files", maxFiles)
	}
	p := &Project{Name: dist.Normalise(d.Name)}
	for _, f := range d.Files {
		file := f.file()
		if file.Name != "" && file.accept(base) {
			p.Files = append(p.Files, file)
		}
	}
	return p, nil
}

func (f documentFile) file() File {
	file := File{
		Name: f.Filename, URL: f.URL, Hashes: f.Hashes, Size: f.Size,
		RequiresPython: f.RequiresPython, UploadTime: f.UploadTime, Origin: f.Origin,
	}
	switch y := f.Yanked.(type) {
	case bool:
		file.Yanked = y
	case string:
		file.Yanked, file.YankedReason = true, y
	}
	for _, m := range []any{f.CoreMetadata, f.DistInfoMetadata, f.DataDistInfo} {
		switch m := m.(type) {
		case bool:
			file.Metadata = m
		case map[string]any:
			file.Metadata, file.MetadataHashes = true, map[string]string{}
			for kind, digest := range m {
				if s, ok := digest.(string); ok {
					file.MetadataHashes[kind] = s
				}
			}
		default:
			continue
		}
		break
	}
	return file
}

// ToJSON writes a page of PEP 691.
func (p *Project) ToJSON() []byte {
	d := document{Meta: map[string]string{"api-version": "1.1"}, Name: p.Name, Files: []documentFile{}, Versions: p.versions()}
	for _, f := range p.Files {
		d.Files = append(d.Files, f.document())
	}
	return encode(d)
}

func (p *Project) versions() []string {
	var out []string
	for _, f := range p.Files {
		if n, err := dist.ParseName(f.Name, p.Name); err == nil {
			out = append(out, n.Version.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (f File) document() documentFile {
	d := documentFile{
		Filename: f.Name, URL: f.URL, Hashes: f.Hashes, Size: f.Size,
		RequiresPython: f.RequiresPython, UploadTime: f.UploadTime, Origin: f.Origin,
	}
	if d.Hashes == nil {
		d.Hashes = map[string]string{}
	}
	if f.Yanked {
		d.Yanked = true
		if f.YankedReason != "" {
			d.Yanked = f.YankedReason
		}
	}
	if f.Metadata {
		d.CoreMetadata = true
		if len(f.MetadataHashes) > 0 {
			d.CoreMetadata = f.MetadataHashes
		}
	}
	return d
}

// RootJSON writes the list of an index's projects.
func RootJSON(names []string) []byte {
	type project struct {
		Name string `json:"name"`
	}
	root := struct {
		Meta     map[string]string `json:"meta"`
		Projects []project         `json:"projects"`
	}{map[string]string{"api-version": "1.1"}, []project{}}
	for _, n := range names {
		root.Projects = append(root.Projects, project{n})
	}
	return encode(root)
}

func encode(v any) []byte {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic("bug: " + err.Error()) // plain structs of text
	}
	return append(text, '\n')
}
