package output

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/oci"
)

// writeImage saves the image in one of the OCI forms.
func (w *Writer) writeImage(ctx context.Context, kind string, image *oci.Image) error {
	tag := w.Tag
	if tag == "" {
		tag = imageName(filepath.Base(w.Name)) + ":latest"
	}
	if kind != "oci" {
		return w.writeFile(ctx, kind, "", func(f *artifact.File) error {
			if kind == "docker-archive" {
				return image.WriteDockerArchive(ctx, f, tag)
			}
			return image.WriteOCIArchive(ctx, f, tag)
		})
	}
	path := w.path(kind, "")
	end := w.begin(writing(path))
	dir, err := artifact.CreateDir(path, layoutMarker)
	if err != nil {
		return err
	}
	dir.NoSync = w.NoSync
	if err := image.WriteLayout(ctx, dir.Temp(), "latest"); err != nil {
		dir.Discard()
		return err
	}
	if err := dir.Commit(); err != nil {
		return err
	}
	end()
	return w.record(kind, path, image.Digest())
}

// imageName makes of an output's name one that docker and podman take.
func imageName(name string) string {
	joined := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllStringFunc(strings.ToLower(name), func(between string) string {
		if between == "." || between == "_" {
			return between
		}
		return "-"
	})
	if joined = strings.Trim(joined, "-._"); joined == "" {
		return "image"
	}
	return joined
}
