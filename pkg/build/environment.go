//go:build containers_image_openpgp

package build

import (
	"fmt"
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
	locks := filepath.Join(first(home, "HOME", "/root"), ".cache/dib/lockfiles")
	for _, dir := range []string{job.ImageCache, locks} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the cache of hooks: %w", err)
		}
	}
	seed := environ.Seed{
		Caller:     job.Caller,
		Lib:        w.lib,
		Elements:   job.DefaultElements,
		Python:     filepath.Join(w.outside, "dib-python"),
		Args:       job.Args,
		BuildDir:   w.build,
		ImageDir:   w.image,
		ImageCache: job.ImageCache,
		LockFiles:  locks,
		Path:       job.ElementsPath,
		Set:        set,
		Arch:       job.Arch,
		ImageName:  job.Name,
		ImageType:  job.Types[0],
		FSType:     job.FSType,

		RootLabel:   plan.RootLabel(),
		RootFSType:  plan.RootFSType(),
		BootLabel:   plan.BootLabel(),
		MountPoints: strings.Split(plan.MountPoints(), "|"),

		DebugTrace:  job.Trace,
		Offline:     job.Offline,
		Checksum:    checksums(job.Checksums),
		NoTmpfs:     true,
		JournalSize: strconv.FormatInt(job.JournalSize>>20, 10),
		Packages:    job.Packages,
	}
	if job.ExtraSize > 0 {
		seed.ImageExtraSize = strconv.FormatInt(job.ExtraSize>>20, 10)
	}
	if job.MaxOnlineResize > 0 {
		seed.MaxOnlineResize = strconv.FormatInt(job.MaxOnlineResize, 10)
	}
	if job.ImageSize > 0 {
		seed.ImageSize = strconv.FormatFloat(float64(job.ImageSize)/(1<<30), 'g', -1, 64)
	}
	env := seed.Env(job.Environ)
	env.Set("PATH", w.outside+":"+first(env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
	env.Set("DIBBER", job.Program)
	env.Set("DIBBER_TARGET", w.target)
	env.Set("DIBBER_JOURNAL", w.journal)
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

func first(env *environ.Env, name, otherwise string) string {
	if v, ok := env.Get(name); ok && v != "" {
		return v
	}
	return otherwise
}

func checksums(kinds []artifact.Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ",")
}
