//go:build containers_image_openpgp

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/common/libimage"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	storagetypes "go.podman.io/storage/types"
)

// storagePrefix is what podman and skopeo write before the name of an image in
// the user's store.
const storagePrefix = "containers-storage:"

// Export copies an image of the user's own store, podman's and buildah's, into
// the new image layout dir, where it is the only one and has no name. Name is a
// name or an ID as podman takes it, containers-storage: before it or not. Layers
// are plain tars with the bytes that they were pulled or committed with.
//
// The store is where the user's storage.conf puts it. It is read as an
// additional store of an empty one, for which nothing is ever written into it
// but lock files that are missing. Export is called inside the namespaces of
// Enter, before [OpenStore]: that hides the user's configuration from the
// libraries.
func Export(ctx context.Context, name, dir string) error {
	logrus.SetOutput(io.Discard) // whatever matters comes back as an error
	if err := export(ctx, strings.TrimPrefix(name, storagePrefix), dir); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("cannot read image %s: %w", name, err)
	}
	return nil
}

func export(ctx context.Context, name, dir string) (err error) {
	if strings.HasPrefix(name, "[") {
		return errors.New("a store other than the user's own is not read; name it in storage.conf")
	}
	users, err := findStore()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "dibber-export-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	store, err := users.open(scratch)
	if err != nil {
		return fmt.Errorf("opening the store %s: %w", users.root, err)
	}
	defer func() {
		_, closing := store.Shutdown(true)
		err = errors.Join(err, closing)
	}()
	system := &types.SystemContext{
		BlobInfoCacheDir:            filepath.Join(scratch, "blobs"),
		BigFilesTemporaryDir:        scratch,
		OCIAcceptUncompressedLayers: true,
	}
	from, err := find(store, system, name)
	if errors.Is(err, storage.ErrImageUnknown) {
		return fmt.Errorf("the store %s has no such image (podman images lists what it has)", users.root)
	}
	if err != nil {
		return err
	}
	return copyImage(ctx, system, from, dir)
}

// find gives the image that a name or an ID means to podman.
func find(store storage.Store, system *types.SystemContext, name string) (types.ImageReference, error) {
	runtime, err := libimage.RuntimeFromStore(store, &libimage.RuntimeOptions{SystemContext: system})
	if err != nil {
		return nil, err
	}
	image, _, err := runtime.LookupImage(name, nil)
	if err != nil {
		return nil, err
	}
	return image.StorageReference()
}

func copyImage(ctx context.Context, system *types.SystemContext, from types.ImageReference, dir string) (err error) {
	to, err := layout.NewReference(dir, "")
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	_, err = copy.Image(ctx, policy, to, from, &copy.Options{
		RemoveSignatures: true, // a layout has no place for them, and the store checked them
		SourceCtx:        system,
		DestinationCtx:   system,
	})
	return err
}

// usersStore is a store that is only read.
type usersStore struct {
	root    string
	driver  string
	options []string
}

// findStore finds the user's store as podman does.
func findStore() (*usersStore, error) {
	options, err := usersOptions()
	if err != nil {
		return nil, fmt.Errorf("finding podman's store: %w", err)
	}
	s := &usersStore{root: options.GraphRoot}
	drivers := []string{"overlay", "vfs"}
	if options.GraphDriverName != "" {
		drivers = []string{options.GraphDriverName}
	}
	for _, driver := range drivers {
		if _, err := os.Stat(filepath.Join(s.root, driver+"-images")); err == nil {
			s.driver = driver
			break
		}
	}
	switch {
	case s.driver == "":
		return nil, fmt.Errorf("there is no store of podman's in %s", s.root)
	case s.driver != "overlay" && s.driver != "vfs":
		return nil, fmt.Errorf("the store %s has the driver %s; only overlay and vfs are read", s.root, s.driver)
	case strings.Contains(s.root, ","):
		return nil, fmt.Errorf("the store %s has a comma in its path", s.root)
	}
	stores := []string{s.root}
	if options.ImageStore != "" {
		stores = append(stores, options.ImageStore)
	}
	for _, option := range options.GraphDriverOptions {
		key, value, _ := strings.Cut(option, "=")
		switch strings.TrimPrefix(strings.TrimPrefix(key, s.driver), ".") {
		case "imagestore", "additionalimagestore":
			stores = append(stores, value)
		case "mount_program":
			s.options = append(s.options, s.driver+".mount_program="+value)
		}
	}
	for _, path := range stores {
		s.options = append(s.options, s.driver+".imagestore="+path)
	}
	if s.driver == "overlay" {
		s.options = append(s.options, "overlay.skip_mount_home=true")
	}
	return s, nil
}

// usersOptions reads the user's storage.conf. Inside a user namespace the user
// is root, and the library must be told who that is outside.
func usersOptions() (storage.StoreOptions, error) {
	const variable = "_CONTAINERS_ROOTLESS_UID"
	uid, err := outsideUID("/proc/self/uid_map")
	if err != nil {
		return storage.StoreOptions{}, err
	}
	if before, set := os.LookupEnv(variable); set {
		defer os.Setenv(variable, before)
	} else {
		defer os.Unsetenv(variable)
	}
	os.Setenv(variable, strconv.Itoa(uid))
	return storagetypes.LoadStoreOptions(storagetypes.LoadOptions{})
}

// outsideUID gives what root of this user namespace is outside of it
// (user_namespaces(7)).
func outsideUID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && inside == 0 {
			return outside, nil
		}
	}
	return 0, fmt.Errorf("%s maps no root", file)
}

// open opens an empty store in scratch that has the user's for reading.
func (s *usersStore) open(scratch string) (storage.Store, error) {
	return storage.GetStore(storage.StoreOptions{
		GraphRoot:          filepath.Join(scratch, "graph"),
		RunRoot:            filepath.Join(scratch, "run"),
		GraphDriverName:    s.driver,
		GraphDriverOptions: s.options,
	})
}
