package formattest_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

var errNone = errors.New("none")

// plain is the simplest format there can be: a letter and then the disk.
func plain() formattest.Format {
	return formattest.Format{
		None: errNone,
		Open: func(file sparse.Image) (sparse.Image, error) {
			b := make([]byte, 1)
			if _, err := file.ReadAt(b, 0); err != nil || b[0] != 'p' {
				return nil, errNone
			}
			return sparse.Section(file, 1, file.Size()-1)
		},
		Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
			if err := dst.Truncate(img.Size() + 1); err != nil {
				return err
			}
			disk := &block.Scattered{File: dst, Size: 1 << 40, Place: func(int64) int64 { return 1 }}
			if err := block.Copy(disk, sparse.WithContext(ctx, img), workers, progress); err != nil {
				return err
			}
			_, err := dst.WriteAt([]byte("p"), 0)
			return err
		},
	}
}

func TestAGoodFormatPasses(t *testing.T) { formattest.Test(t, plain()) }

func TestEveryFaultOfAFormatIsFound(t *testing.T) {
	if judge.Race {
		t.Skip("the faults are those of the formats made up here")
	}
	for want, spoil := range map[string]func(good formattest.Writer) formattest.Writer{
		"the disk that is read": func(good formattest.Writer) formattest.Writer {
			return func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				err := good(ctx, dst, img, workers, progress)
				if err == nil {
					_, err = dst.WriteAt([]byte{1}, 1<<20)
				}
				return err
			}
		},
		"number of workers": func(good formattest.Writer) formattest.Writer {
			return func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				if _, err := dst.WriteAt([]byte{byte(workers)}, 1<<20); err != nil {
					return err
				}
				return good(ctx, dst, img, workers, progress)
			}
		},
		"comes last": func(good formattest.Writer) formattest.Writer {
			return func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				if _, err := dst.WriteAt([]byte("p"), 0); err != nil {
					return err
				}
				return good(ctx, dst, img, workers, progress)
			}
		},
		"a failed write": func(good formattest.Writer) formattest.Writer {
			return func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				if good(ctx, dst, img, workers, progress) != nil {
					return errors.New("it failed")
				}
				return nil
			}
		},
		"a cancelled write": func(good formattest.Writer) formattest.Writer {
			return func(_ context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				return good(context.Background(), dst, img, workers, progress)
			}
		},
		"progress": func(good formattest.Writer) formattest.Writer {
			return func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
				return good(ctx, dst, img, workers, func(done, total int64) {
					if progress != nil {
						progress(done, total+1)
					}
				})
			}
		},
	} {
		f := plain()
		f.Write = spoil(f.Write)
		if err := formattest.Check(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: found was %v", want, err)
		}
	}
}

func TestContentIsTheSameForASeedAndHasZerosInIt(t *testing.T) {
	for name, make := range map[string]func(int, uint64) []byte{"noise": formattest.Noise, "words": formattest.Words} {
		a := make(3<<20+1, 5)
		zeros := bytes.Count(a, []byte{0})
		if !bytes.Equal(a, make(3<<20+1, 5)) || bytes.Equal(a, make(3<<20+1, 6)) || zeros < 1<<17 || zeros > 2<<20 {
			t.Errorf("%s: %d zeros", name, zeros)
		}
	}
}
