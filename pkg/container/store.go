package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/buildah"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
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
	var err error
	if s.storage, err = open(dir, "overlay"); err == nil {
		return s, nil
	}
	refused := err
	if s.storage, err = open(dir, "vfs"); err != nil {
		return nil, fmt.Errorf("cannot open the container store %s: %w", dir, errors.Join(refused, err))
	}
	return s, nil
}

func open(dir, driver string) (storage.Store, error) {
	return storage.GetStore(storage.StoreOptions{
		GraphRoot:       filepath.Join(dir, "graph-"+driver),
		RunRoot:         filepath.Join(dir, "run-"+driver),
		GraphDriverName: driver,
	})
}

// configure shields the libraries from configuration files of other tools: what
// they would read is written here.
func (s *Store) configure() error {
	conf := filepath.Join(s.dir, "conf")
	for _, dir := range []string{"registries.conf.d", "bin"} {
		if err := os.MkdirAll(filepath.Join(conf, dir), 0o700); err != nil {
			return err
		}
	}
	files := map[string]string{
		// Reopening a container looks for netavark and does not run it.
		"bin/netavark":    "#!/bin/false\n",
		"containers.conf": fmt.Sprintf("[engine]\nhelper_binaries_dir = [%q]\n", filepath.Join(conf, "bin")),
		"storage.conf":    "",
		"registries.conf": "",
		"policy.json":     `{"default":[{"type":"insecureAcceptAnything"}]}`,
	}
	for name, text := range files {
		if err := writeOnce(filepath.Join(conf, name), text); err != nil {
			return err
		}
	}
	s.policy = filepath.Join(conf, "policy.json")
	s.system = &types.SystemContext{
		SignaturePolicyPath:         s.policy,
		SystemRegistriesConfPath:    filepath.Join(conf, "registries.conf"),
		SystemRegistriesConfDirPath: filepath.Join(conf, "registries.conf.d"),
	}
	os.Setenv("CONTAINERS_CONF", filepath.Join(conf, "containers.conf"))
	os.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(conf, "storage.conf"))
	return nil
}

// writeOnce writes a small file that is always the same; two builds may do so at once.
func writeOnce(path, text string) error {
	if have, err := os.ReadFile(path); err == nil && string(have) == text {
		return nil
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(temp, []byte(text), 0o700); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// Driver is "overlay" or "vfs".
func (s *Store) Driver() string { return s.storage.GraphDriverName() }

// Close releases the store. Containers stay as they are.
func (s *Store) Close() error {
	_, err := s.storage.Shutdown(false)
	return err
}

// Build is a claim on a place in the store for the length of one build: a
// directory for temporary files and a name for the working container. The claim
// is a file lock, so it ends with the process, however that ends.
type Build struct {
	store *Store
	id    string
	lock  *os.File
	temp  string // TMPDIR as it was
}

// NewBuild claims the place named id, which nobody else may use.
func (s *Store) NewBuild(id string) (*Build, error) {
	lock, err := claim(s.lockPath(id))
	if err != nil {
		return nil, fmt.Errorf("claiming build %s: %w", id, err)
	}
	b := &Build{store: s, id: id, lock: lock, temp: os.Getenv("TMPDIR")}
	if err := os.MkdirAll(b.Dir(), 0o755); err != nil {
		return nil, err
	}
	// The library keeps its bundles in TMPDIR; there they go with the build.
	os.Setenv("TMPDIR", b.Dir())
	return b, nil
}

// Dir is a directory that is removed with the build.
func (b *Build) Dir() string { return filepath.Join(b.store.dir, "builds", b.id) }

// Close gives the place back and removes its directory.
func (b *Build) Close() error {
	os.Setenv("TMPDIR", b.temp)
	err := os.RemoveAll(b.Dir())
	if err == nil {
		err = os.Remove(b.store.lockPath(b.id))
	}
	return errors.Join(err, b.lock.Close())
}

func (s *Store) lockPath(id string) string { return filepath.Join(s.dir, "builds", id+".lock") }

func claim(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Keep lets go of the build without removing anything: its container and
// directory stay for Reopen until Clean takes them away.
func (b *Build) Keep() error {
	os.Setenv("TMPDIR", b.temp)
	if err := os.WriteFile(b.keptPath(), nil, 0o600); err != nil {
		return err
	}
	return b.lock.Close()
}

func (b *Build) keptPath() string { return filepath.Join(b.Dir(), "kept") }

// Reopen claims a kept build and its container again.
func (s *Store) Reopen(id string) (*Build, *Container, error) {
	b := &Build{store: s, id: id, temp: os.Getenv("TMPDIR")}
	if _, err := os.Stat(b.keptPath()); id == "" || id != filepath.Base(id) || err != nil {
		return nil, nil, fmt.Errorf("no build %q is kept: it was cleaned, or succeeded", id)
	}
	var err error
	if b.lock, err = claim(s.lockPath(id)); err != nil {
		return nil, nil, fmt.Errorf("build %s is in use: %w", id, err)
	}
	os.Setenv("TMPDIR", b.Dir())
	c := &Container{build: b}
	if c.builder, err = buildah.OpenBuilder(s.storage, namePrefix+id); err == nil {
		c.builder.NetworkInterface = noNetwork{}
		c.root, err = c.builder.Mount("")
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the container of build %s: %w", id, err), b.Keep())
	}
	return b, c, nil
}

// Clean removes kept builds as well as what Sweep removes.
func (s *Store) Clean() error { return s.sweep(true) }

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

// Sweep removes what builds left behind that were ended before they could clean
// up: their working containers and directories, and extra directories that they
// noted with Note. Builds that still run and kept ones are not touched.
func (s *Store) Sweep() error { return s.sweep(false) }

func (s *Store) sweep(kept bool) error {
	dead, err := s.deadBuilds()
	if err != nil || len(dead) == 0 {
		return err
	}
	var errs []error
	for id, lock := range dead {
		b := &Build{store: s, id: id}
		if _, err := os.Stat(b.keptPath()); kept || err != nil {
			errs = append(errs, s.sweepOne(b))
		}
		errs = append(errs, lock.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) sweepOne(b *Build) error {
	if c, err := s.storage.Container(namePrefix + b.id); err == nil {
		s.storage.Unmount(c.ID, true)
		if err := s.storage.DeleteContainer(c.ID); err != nil {
			return fmt.Errorf("removing the container of build %s: %w", b.id, err)
		}
	}
	for _, dir := range b.notes() {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(b.Dir()); err != nil {
		return err
	}
	return os.Remove(s.lockPath(b.id))
}

// deadBuilds claims every build whose process is gone.
func (s *Store) deadBuilds() (map[string]*os.File, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "builds"))
	if err != nil {
		return nil, err
	}
	dead := map[string]*os.File{}
	for _, e := range entries {
		id, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock {
			continue
		}
		if lock, err := claim(s.lockPath(id)); err == nil {
			dead[id] = lock
		}
	}
	return dead, nil
}

// Note records a directory outside the store that must go with the build.
func (b *Build) Note(dir string) error {
	f, err := os.OpenFile(b.notePath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, dir)
	return errors.Join(err, f.Close())
}

func (b *Build) notePath() string { return filepath.Join(b.Dir(), "remove-too") }

func (b *Build) notes() []string {
	text, err := os.ReadFile(b.notePath())
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}
