package artifact

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"
)

// Kind is a kind of checksum, and the extension of its files.
type Kind string

// The kinds of checksums that diskimage-builder makes.
const (
	MD5    Kind = "md5"
	SHA256 Kind = "sha256"
)

// Kinds lists the kinds.
func Kinds() []Kind { return []Kind{MD5, SHA256} }

func (k Kind) hash() (hash.Hash, error) {
	switch k {
	case MD5:
		return md5.New(), nil
	case SHA256:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("the kind %q is not known, use %s or %s", k, MD5, SHA256)
}

// file is the checksum file of path.
func (k Kind) file(path string) string { return path + "." + string(k) }

// Checksums writes beside the file at path its checksum files, path.md5 and
// path.sha256, in the form of md5sum and sha256sum with path as it is given. The
// file is read once, whatever the number of kinds. The checksum files appear
// whole or not at all, and only when all could be computed.
func Checksums(ctx context.Context, path string, kinds []Kind) error {
	sums, err := sum(ctx, path, kinds)
	if err != nil {
		return fmt.Errorf("cannot compute checksums of %s: %w", path, cause(err))
	}
	for i, k := range kinds {
		if err := writeSum(k.file(path), line(sums[i], path)); err != nil {
			return err
		}
	}
	return nil
}

func writeSum(path, text string) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Commit()
}

// line is one line of md5sum's output. A name with a backslash or a line's end
// in it is escaped, and the line then begins with a backslash.
func line(sum []byte, name string) string {
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	mark := ""
	if escaped != name {
		mark = `\`
	}
	return mark + hex.EncodeToString(sum) + "  " + escaped + "\n"
}

// sum computes the checksums of the file at path, side by side.
func sum(ctx context.Context, path string, kinds []Kind) ([][]byte, error) {
	hashes := make([]hash.Hash, len(kinds))
	for i, k := range kinds {
		var err error
		if hashes[i], err = k.hash(); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := feed(ctx, f, hashes); err != nil {
		return nil, err
	}
	sums := make([][]byte, len(hashes))
	for i, h := range hashes {
		sums[i] = h.Sum(nil)
	}
	return sums, nil
}

// feed gives all that r has to every hash, each in its own goroutine, while the
// next bytes are read.
func feed(ctx context.Context, r io.Reader, hashes []hash.Hash) error {
	const size = 1 << 20
	now, next := make([]byte, size), make([]byte, size)
	var busy sync.WaitGroup
	defer busy.Wait()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, now)
		busy.Wait()
		data := now[:n]
		for _, h := range hashes {
			busy.Go(func() { h.Write(data) })
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		now, next = next, now
	}
}
