//go:build containers_image_openpgp

package build

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/layout"
)

// environment gives the variables that hooks see.
func environment(job *Job, set *element.Set, plan *layout.Plan, w *workspace) (*environ.Env, error) {
	home := environ.New(job.Environ)
	locks := job.path(first(home, "DIB_LOCKFILES", filepath.Join(first(home, "HOME", "/root"), ".cache/dib/lockfiles")))
	for _, dir := range []string{job.ImageCache, locks} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the cache of hooks: %w", err)
		}
	}
	env := seed(job, set, plan, w, locks).Env(job.Environ)
	if _, exported := env.Get("DIB_DEFAULT_INSTALLTYPE"); exported && job.InstallType != "" {
		env.Set("DIB_DEFAULT_INSTALLTYPE", job.InstallType)
	}
	env.Set("PATH", w.outside+":"+first(env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
	env.Set("TMPDIR", w.temp)
	env.Set("DIBBER", job.Program)
	env.Set("DIBBER_PYTHON", first(home, "DIB_PYTHON_EXEC", "python3"))
	env.Set("DIBBER_TARGET", w.target)
	env.Set("DIBBER_JOURNAL", w.journal)
	env.Set("DIBBER_NOTES", w.notes)
	for _, f := range plan.Mounts {
		switch f.Mount.Point {
		case "/":
			env.Set("DIBBER_ROOT_UUID", f.UUID)
		case "/boot":
			env.Set("DIBBER_BOOT_UUID", f.UUID)
		}
	}
	return env, nil
}

// seed is what the job says of the variables of diskimage-builder.
func seed(job *Job, set *element.Set, plan *layout.Plan, w *workspace, locks string) environ.Seed {
	return environ.Seed{
		Caller:     job.Caller,
		Lib:        w.lib,
		Elements:   job.DefaultElements,
		Python:     filepath.Join(w.outside, "dib-python"),
		Args:       job.Args,
		BuildDir:   w.build,
		ImageDir:   w.image,
		ImageCache: job.ImageCache,
		LockFiles:  locks,
		Params:     filepath.Join(w.build, paramsFile),
		Path:       job.ElementsPath,
		Set:        set,
		Arch:       job.Arch,
		ImageName:  job.Name,
		FSType:     job.FSType,

		RootLabel:   plan.RootLabel(),
		RootFSType:  plan.RootFSType(),
		BootLabel:   plan.BootLabel(),
		MountPoints: strings.Split(plan.MountPoints(), "|"),

		DebugTrace:      job.Trace,
		Offline:         job.Offline,
		Checksum:        checksums(job.Checksums),
		NoTmpfs:         job.NoTmpfs,
		MinTmpfs:        job.MinTmpfs,
		ImageSize:       units(job.ImageSize, 1<<30),
		ImageExtraSize:  units(job.ExtraSize, 1<<20),
		JournalSize:     units(job.JournalSize, 1<<20),
		MaxOnlineResize: units(job.MaxOnlineResize, 1),
		Packages:        job.Packages,
		SkipBase:        job.SkipBase,
	}
}

// Where elements find the wanted disk described, in TMP_BUILD_DIR.
const (
	configFile = "block-device/config.yaml"
	paramsFile = "block-device/params.yaml"
)

// describeDisk writes what diskimage-builder tells its own block device layer, and
// elements that read it: the configuration, and what is known besides.
func (o *outputs) describeDisk() error {
	build, err := os.OpenRoot(o.w.build)
	if err != nil {
		return err
	}
	defer build.Close()
	params := []struct{ key, value string }{
		{"config", filepath.Join(o.w.build, configFile)},
		{"image-dir", o.w.image},
		{"root-fs-type", o.job.FSType},
		{"root-label", o.job.RootLabel},
		{"mount-base", o.w.target},
		{"build-dir", o.w.build},
	}
	var text strings.Builder
	for _, p := range params {
		text.WriteString(param(p.key, p.value))
	}
	err = build.MkdirAll(filepath.Dir(configFile), 0o755)
	if err == nil {
		err = build.WriteFile(configFile, o.config.Data, 0o644)
	}
	if err == nil {
		err = build.WriteFile(paramsFile, []byte(text.String()), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot describe the disk for hooks: %w", err)
	}
	return nil
}

// describeSize adds to that what is only known after post-root.
func (r *rootfs) describeSize() error {
	build, err := os.OpenRoot(r.w.build)
	if err != nil {
		return err
	}
	defer build.Close()
	f, err := build.OpenFile(paramsFile, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("cannot describe the disk for hooks: %w", err)
	}
	_, err = f.WriteString(param("image-size", strconv.FormatInt(r.diskSize>>10, 10)+"KiB") + param("root-fs-opts", r.rootOptions))
	return errors.Join(err, f.Close())
}

// param is a line of YAML; an empty value is null.
func param(key, value string) string {
	if value == "" {
		return key + ":\n"
	}
	return key + ": " + strconv.Quote(value) + "\n"
}

// units writes a size as the user does, who may have written a fraction; "" for 0.
func units(size int64, unit float64) string {
	if size <= 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(float64(size)/unit*1e6)/1e6, 'f', -1, 64)
}

func first(env *environ.Env, name, otherwise string) string {
	if v, ok := env.Get(name); ok && v != "" {
		return v
	}
	return otherwise
}

// checksums is DIB_CHECKSUM: 1 stands for all of them.
func checksums(kinds []artifact.Kind) string {
	if len(kinds) == len(artifact.Kinds()) {
		return "1"
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ",")
}
