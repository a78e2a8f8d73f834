package bootloader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	biosPlatform = "i386-pc"

	machineGRUB = "/usr/lib/grub" // where GRUB is on the machine, unless the request says other

	maxModules     = 4096     // files of one platform
	maxModuleBytes = 64 << 20 // of them all; GRUB 2.12 has 5 MB
	maxCore        = 32 << 20
)

// moduleFile is one file of GRUB's for a platform.
type moduleFile struct {
	name string
	data []byte
}

// modules are GRUB's files for one platform, all of one build.
type modules struct {
	platform string
	files    []moduleFile
}

func (m *modules) file(name string) []byte {
	for _, f := range m.files {
		if f.name == name {
			return f.data
		}
	}
	return nil
}

// unavailable says what GRUB for one platform lacks. When another platform
// lacks nothing, that is a warning only.
type unavailable string

func (u unavailable) Error() string { return string(u) }

func isUnavailable(err error) bool {
	var u unavailable
	return errors.As(err, &u)
}

// treeModuleDirs are where distributions put GRUB's files; SUSE uses the
// second.
var treeModuleDirs = [2]string{"/usr/lib/grub", "/usr/share/grub2"}

// treeHasGRUB tells whether the tree brings GRUB for any platform of its
// architecture.
func (i *installer) treeHasGRUB() bool {
	p, err := i.sys.platform()
	if err != nil {
		return false
	}
	for _, dir := range treeModuleDirs {
		if i.has(path.Join(dir, p.grub, "kernel.img")) || i.sys.arch == "amd64" && i.has(path.Join(dir, biosPlatform, "kernel.img")) {
			return true
		}
	}
	return i.findSigned(p) != nil
}

func (i *installer) machineDir() string { return first(i.req.GRUBDir, machineGRUB) }

func (i *installer) machineHasGRUB() bool {
	p, err := i.sys.platform()
	if err != nil {
		return false
	}
	for _, platform := range []string{p.grub, biosPlatform} {
		if _, err := os.Stat(filepath.Join(i.machineDir(), platform, "kernel.img")); err == nil {
			return true
		}
	}
	return false
}

// findModules gives the tree's GRUB for a platform, or the machine's. The core
// image and the modules that it loads must be of one build, so the two are
// never mixed.
func (i *installer) findModules(platform string) (*modules, error) {
	for _, dir := range treeModuleDirs {
		if i.has(path.Join(dir, platform, "kernel.img")) {
			return i.treeModules(path.Join(dir, platform), platform)
		}
	}
	m, err := readModules(filepath.Join(i.machineDir(), platform), platform)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(fmt.Sprintf("GRUB for %s is missing: neither the tree nor this machine has it%s", platform, i.sys.grubHint()))
	}
	if err != nil {
		return nil, fmt.Errorf("reading this machine's GRUB: %w", err)
	}
	i.note("GRUB for %s is this machine's, as the tree has none", platform)
	return m, nil
}

// wantedModule tells which files grub-mkimage reads or GRUB reads at boot.
func wantedModule(name string) bool {
	switch path.Ext(name) {
	case ".mod", ".lst", ".img":
		return name[0] != '.'
	}
	return false
}

func (i *installer) treeModules(dir, platform string) (*modules, error) {
	m := &modules{platform: platform}
	total := int64(0)
	for _, n := range i.entries(dir) {
		if !wantedModule(n.Name) || n.Inode.Type() != tree.TypeRegular {
			continue
		}
		if total += n.Inode.Size; total > maxModuleBytes || len(m.files) == maxModules {
			return nil, fmt.Errorf("the tree's %s is too large for a GRUB", dir)
		}
		data, err := i.tree.ReadFile(path.Join(dir, n.Name), maxModuleBytes)
		if err != nil {
			return nil, err
		}
		m.files = append(m.files, moduleFile{n.Name, data})
	}
	return m, nil
}

func readModules(dir, platform string) (*modules, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	m := &modules{platform: platform}
	for _, e := range entries {
		if !wantedModule(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		m.files = append(m.files, moduleFile{e.Name(), data})
	}
	if m.file("kernel.img") == nil {
		return nil, fs.ErrNotExist
	}
	return m, nil
}

// makeCore runs grub-mkimage on nothing but the files of m. script is what the
// image does first.
func (i *installer) makeCore(ctx context.Context, m *modules, script, prefix string, names []string) ([]byte, error) {
	dir, err := os.MkdirTemp(i.req.TempDir, "grub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, early, out := filepath.Join(dir, "modules"), filepath.Join(dir, "load.cfg"), filepath.Join(dir, "core")
	if err := os.Mkdir(source, 0o700); err != nil {
		return nil, err
	}
	for _, f := range m.files {
		if err := os.WriteFile(filepath.Join(source, f.name), f.data, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(early, []byte(script), 0o600); err != nil {
		return nil, err
	}
	args := slices.Concat([]string{"-O", m.platform, "-d", source, "-c", early, "-p", prefix, "-o", out}, names)
	err = run(ctx, i.req.Tools, []string{"grub-mkimage", "grub2-mkimage"}, args...)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, unavailable("grub-mkimage is missing; install it on this machine: apt-get install grub-common, or dnf install grub2-tools-minimal")
	}
	if err != nil {
		return nil, fmt.Errorf("making GRUB's core image for %s: %w", m.platform, err)
	}
	st, err := os.Stat(out)
	if err != nil {
		return nil, fmt.Errorf("making GRUB's core image for %s: %w", m.platform, err)
	}
	if st.Size() > maxCore {
		return nil, fmt.Errorf("GRUB's core image for %s has %d bytes", m.platform, st.Size())
	}
	return os.ReadFile(out)
}

// addModules puts what GRUB loads at boot into its directory.
func (i *installer) addModules(dir string, m *modules) {
	for _, f := range m.files {
		if strings.HasSuffix(f.name, ".img") && f.name != "boot.img" {
			continue
		}
		i.add.file(path.Join(dir, m.platform, f.name), f.data)
	}
}
