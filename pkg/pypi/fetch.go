package pypi

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"

	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// best is the strongest kind of hash that is told; "" for none.
func best(hashes map[string]string) string {
	for _, kind := range []string{"sha512", "sha384", "sha256", "sha224", "sha1", "md5"} {
		if hashes[kind] != "" {
			return kind
		}
	}
	return ""
}

func newHash(kind string) hash.Hash {
	switch kind {
	case "sha512":
		return sha512.New()
	case "sha384":
		return sha512.New384()
	case "sha224":
		return sha256.New224()
	case "sha1":
		return sha1.New()
	case "md5":
		return md5.New()
	}
	return sha256.New()
}

// DefaultMaxFile is how large a file may be.
const DefaultMaxFile = 5 << 30

// HashError tells that what a source sent is not what it promised.
type HashError struct{ File, Source, Kind, Got, Want string }

func (e *HashError) Error() string {
	return fmt.Sprintf("%s from %s: its %s is %s, not %s", e.File, e.Source, e.Kind, e.Got, e.Want)
}

// fetching is one file on its way from a source into a mirror.
type fetching struct {
	mirror  *Mirror
	source  Source
	project string
	file    index.File
	max     int64
	started func(in *incoming, size int64) // size: -1 when it is not told
	came    func(total int64)
}

// run fetches the file and keeps it, if it is what the page promised.
func (g *fetching) run(ctx context.Context) (index.File, error) {
	body, size, err := g.source.Open(ctx, g.file.URL)
	if err != nil {
		return g.file, err
	}
	defer body.Close()
	limit, err := g.limit(size)
	if err != nil {
		return g.file, err
	}
	in, err := g.mirror.newIncoming()
	if err != nil {
		return g.file, err
	}
	if g.started != nil {
		g.started(in, size)
	} else {
		defer in.Close()
	}
	f, err := g.receive(in, io.LimitReader(body, limit+1), limit, size)
	if err == nil {
		f.Origin = originOf(g.file.URL)
		f, err = g.mirror.keep(g.project, in, f, best(g.file.Hashes) != "")
	}
	if err != nil {
		g.mirror.root.Remove(in.name)
	}
	return f, err
}

// limit is how many bytes may come.
func (g *fetching) limit(size int64) (int64, error) {
	limit := g.max
	if limit <= 0 {
		limit = DefaultMaxFile
	}
	told := max(size, g.file.Size)
	if told > limit {
		return 0, fmt.Errorf("%s from %s has %d bytes, and %d are allowed", g.file.Name, g.source, told, limit)
	}
	if size >= 0 && g.file.Size > 0 && size != g.file.Size {
		return 0, fmt.Errorf("%s from %s has %d bytes, not %d as its page says", g.file.Name, g.source, size, g.file.Size)
	}
	if told > 0 {
		limit = told
	}
	return limit, nil
}

// receive copies what comes, and tells what it is.
func (g *fetching) receive(in *incoming, body io.Reader, limit, size int64) (index.File, error) {
	f := g.file
	kind := best(f.Hashes)
	own, promised := sha256.New(), newHash(kind)
	var total int64
	buffer := make([]byte, 128<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if total += int64(n); total > limit {
				return f, fmt.Errorf("%s from %s has more than the %d bytes that are allowed", f.Name, g.source, limit)
			}
			own.Write(buffer[:n])
			promised.Write(buffer[:n])
			if _, err := in.Write(buffer[:n]); err != nil {
				return f, fmt.Errorf("cannot write to the mirror %s: %w", g.mirror.dir, err)
			}
			if g.came != nil {
				g.came(total)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return f, fmt.Errorf("%s from %s broke off after %d bytes: %w", f.Name, g.source, total, err)
		}
	}
	if want := max(size, f.Size); want > 0 && total != want {
		return f, fmt.Errorf("%s from %s broke off after %d bytes of %d", f.Name, g.source, total, want)
	}
	if got := hex.EncodeToString(promised.Sum(nil)); kind != "" && got != f.Hashes[kind] {
		return f, &HashError{f.Name, g.source.String(), kind, got, f.Hashes[kind]}
	}
	f.Hashes = maps.Clone(f.Hashes)
	if f.Hashes == nil {
		f.Hashes = map[string]string{}
	}
	f.Hashes["sha256"] = hex.EncodeToString(own.Sum(nil))
	return f, nil
}
