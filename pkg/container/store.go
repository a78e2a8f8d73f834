//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// namePrefix marks working containers that builds of ours made.
const namePrefix = "dibber-"

// Store holds working containers and imported images below one directory. It is
// a storage of its own: the user's podman or buildah neither sees nor disturbs
// it, and no storage.conf, containers.conf or registries.conf changes it.
type Store struct {
	storage storage.Store
	dir     string
	system  *types.SystemContext
	policy  string
	mounts  string
	refused error // what kept overlay from being used
}

// OpenStore opens the store below dir, or makes it. It must be called inside
// the namespaces of Enter. Overlay is used where the kernel mounts it there,
// else plain copies (vfs), which are slow; Driver tells which.
func OpenStore(dir string) (*Store, error) {
	logrus.SetOutput(io.Discard) // whatever matters comes back as an error
	if strings.ContainsAny(dir, ",:") {
		return nil, &MachineError{What: "cannot keep containers in " + dir + ": overlay mounts allow no comma or colon in the path", Mend: "export XDG_DATA_HOME=/ANOTHER/DIRECTORY"}
	}
	for _, d := range []string{dir, filepath.Join(dir, "builds")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("cannot keep containers in %s: %w", dir, err)
		}
	}
	s := &Store{dir: dir}
	if err := s.configure(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the storage with the best driver that the kernel and the file system
// allow.
func (s *Store) open(overlayOptions ...string) error {
	var err error
	if s.storage, err = s.overlay(overlayOptions); err == nil {
		return nil
	}
	s.refused = err
	if s.storage, err = s.with("vfs"); err != nil {
		return fmt.Errorf("cannot open the container store %s: %w", s.dir, errors.Join(s.refused, err))
	}
	return nil
}

// overlay opens the storage if the kernel itself mounts overlay there.
//
// Where it does not, the library takes fuse-overlayfs of PATH, and does not try
// it: where /dev/fuse may not be opened, as in pods, no container can be mounted
// then. So the library does not get to see it. What it found out once is kept in
// a directory that it takes for one of this boot: a refusal is not believed.
func (s *Store) overlay(options []string) (storage.Store, error) {
	err := os.Remove(filepath.Join(s.dir, "run-overlay", "overlay", "overlay-false"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path, set := os.LookupEnv("PATH")
	os.Setenv("PATH", filepath.Join(s.dir, "conf", "bin"))
	defer func() {
		if os.Unsetenv("PATH"); set {
			os.Setenv("PATH", path)
		}
	}()
	return s.with("overlay", options...)
}

func (s *Store) with(driver string, options ...string) (storage.Store, error) {
	return storage.GetStore(storage.StoreOptions{
		GraphRoot:          filepath.Join(s.dir, "graph-"+driver),
		RunRoot:            filepath.Join(s.dir, "run-"+driver),
		GraphDriverName:    driver,
		GraphDriverOptions: options,
	})
}

// configure shields the libraries from configuration files of other tools: what
// they would read is written here.
func (s *Store) configure() error {
	conf := filepath.Join(s.dir, "conf")
	for _, dir := range []string{"registries.conf.d", "bin", "run"} {
		if err := os.MkdirAll(filepath.Join(conf, dir), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{
		// Reopening a container looks for netavark and does not run it.
		"bin/netavark":    "#!/bin/false\n",
		"containers.conf": fmt.Sprintf("[engine]\nhelper_binaries_dir = [%q]\n", filepath.Join(conf, "bin")),
		"storage.conf":    "",
		"mounts.conf":     "", // what of the machine containers would get to see
		"registries.conf": "",
		"policy.json":     `{"default":[{"type":"insecureAcceptAnything"}]}`,
	}
	for name, text := range files {
		if err := writeOnce(filepath.Join(conf, name), text); err != nil {
			return err
		}
	}
	s.policy = filepath.Join(conf, "policy.json")
	s.mounts = filepath.Join(conf, "mounts.conf")
	s.system = &types.SystemContext{
		SignaturePolicyPath:         s.policy,
		SystemRegistriesConfPath:    filepath.Join(conf, "registries.conf"),
		SystemRegistriesConfDirPath: filepath.Join(conf, "registries.conf.d"),
	}
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(conf, "run")) // without one, directories in /tmp stay
	os.Setenv("CONTAINERS_CONF", filepath.Join(conf, "containers.conf"))
	os.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(conf, "storage.conf"))
	return nil
}

// writeOnce writes a small file that is always the same; two builds may do so at
// once. (Each has a pid namespace of its own, so their pids tell them not apart.)
func writeOnce(path, text string) error {
	if have, err := os.ReadFile(path); err == nil && string(have) == text {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o700), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// Driver is "overlay" or "vfs".
func (s *Store) Driver() string { return s.storage.GraphDriverName() }

// Refused is why the driver is not overlay, or nil.
func (s *Store) Refused() error { return s.refused }

// Dir is where the store lies.
func (s *Store) Dir() string { return s.dir }

// Close releases the store. Containers stay as they are, those that other
// processes have mounted among them.
func (s *Store) Close() error {
	if _, err := s.storage.Shutdown(false); !errors.Is(err, storage.ErrLayerUsedByContainer) {
		return err
	}
	return nil
}

// RemoveImages removes every imported image.
func (s *Store) RemoveImages() error {
	images, err := s.storage.Images()
	if err != nil {
		return err
	}
	var errs []error
	for _, image := range images {
		_, err := s.storage.DeleteImage(image.ID, true)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
