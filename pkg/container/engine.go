//go:build containers_image_openpgp

package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.podman.io/common/libimage"

	"github.com/dibber-project/dibber/pkg/engine"
)

// EngineOptions say where an Engine keeps what it has and whom it asks.
type EngineOptions struct {
	// Dir is below the directory of a build, and goes with it.
	Dir string
	// Fetch brings an image from a registry onto this machine.
	Fetch func(ctx context.Context, name string, p engine.Platform) (Fetched, error)
	// Platform is what images are fetched and built for unless the command says
	// otherwise.
	Platform engine.Platform
	// Child are the arguments with which this program calls RunEngineProcess.
	Child []string
	// Attach are the arguments with which this program starts a container's
	// command and waits for its end; the container's ID is added.
	Attach []string
	Now    func() time.Time
}

// Fetched is an image on this machine.
type Fetched struct {
	Name      string // in full
	Transport string // as the oci transport of containers names it (oci:DIR:NAME)
}

// Engine keeps the images and containers that the hooks of one build make with
// docker and podman. It has a store of its own below the build's directory, so
// nothing of it outlives the build. Each command opens the store in a process of
// its own, within the namespaces of the hook that calls it: what it mounts and
// starts ends with the hook's phase at the latest.
type Engine struct {
	Store
	o EngineOptions
}

// OpenEngine opens an engine's store, or makes it.
func OpenEngine(o EngineOptions) (*Engine, error) {
	logrus.SetOutput(io.Discard) // whatever matters comes back as an error
	if strings.ContainsAny(o.Dir, ",:") {
		return nil, fmt.Errorf("cannot keep containers in %s: overlay mounts allow no comma or colon in the path", o.Dir)
	}
	e := &Engine{Store: Store{dir: o.Dir}, o: o}
	for _, d := range []string{o.Dir, e.tempDir(), filepath.Join(o.Dir, "volumes")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("cannot keep containers in %s: %w", o.Dir, err)
		}
	}
	if err := e.configure(); err != nil {
		return nil, err
	}
	e.system.BlobInfoCacheDir = filepath.Join(o.Dir, "blobs")
	e.system.UserShortNameAliasConfPath = filepath.Join(o.Dir, "conf", "short-names.conf") // else one of the machine's
	e.system.BigFilesTemporaryDir = e.tempDir()
	e.system.ArchitectureChoice, e.system.VariantChoice, e.system.OSChoice = o.Platform.Arch, o.Platform.Variant, "linux"
	os.Setenv("TMPDIR", e.tempDir()) // of the libraries and of their processes
	if err := e.open("overlay.skip_mount_home=true"); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) tempDir() string { return filepath.Join(e.dir, "tmp") }

// TempDir is for files that go with the build.
func (e *Engine) TempDir() string { return e.tempDir() }

// runtime is the library that knows images by their names.
func (e *Engine) runtime() (*libimage.Runtime, error) {
	return libimage.RuntimeFromStore(e.storage, &libimage.RuntimeOptions{SystemContext: e.system})
}

var (
	_ engine.Images     = (*Engine)(nil)
	_ engine.Containers = (*Engine)(nil)
)
