package bootloader

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// kernel is one that the tree holds.
type kernel struct {
	version string
	path    string // without symbolic links
	image   *tree.Inode

	initrdPath string
	initrd     *tree.Inode // nil: none
}

// initrdName is what the initrd of the kernel is called on the ESP. Debian's
// kernel-install calls it by the name of the original, and overwrites it.
func (k kernel) initrdName() string { return path.Base(k.initrdPath) }

// moduleDirs are where distributions keep kernels' modules, and some of them
// the kernels.
var moduleDirs = [2]string{"/usr/lib/modules", "/lib/modules"}

// findKernels gives the kernels of the tree, the newest first.
func (i *installer) findKernels() ([]kernel, error) {
	found := map[string]kernel{}
	// vmlinux is the same kernel as vmlinuz where both are there, for debuggers.
	for _, prefix := range []string{"vmlinuz-", "vmlinux-", "Image-", "kernel-"} {
		for _, n := range i.entries("/boot") {
			version, ok := kernelVersion(n.Name, prefix)
			if _, known := found[version]; ok && !known {
				i.addKernel(found, version, path.Join("/boot", n.Name))
			}
		}
	}
	for _, dir := range moduleDirs {
		for _, n := range i.entries(dir) {
			if _, known := found[n.Name]; known || !isVersion(n.Name) {
				continue
			}
			// Arch Linux copies its kernels to /boot under the name of the package.
			base, err := i.tree.ReadFile(path.Join(dir, n.Name, "pkgbase"), maxText)
			if _, known := found[strings.TrimSpace(string(base))]; known && err == nil {
				continue
			}
			i.addKernel(found, n.Name, path.Join(dir, n.Name, "vmlinuz"))
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: nothing in /boot is called vmlinuz-VERSION, and no directory in /lib/modules has a vmlinuz%s",
			ErrNoKernel, i.sys.kernelHint())
	}
	var kernels []kernel
	for _, k := range found {
		kernels = append(kernels, k)
	}
	slices.SortFunc(kernels, func(a, b kernel) int {
		return cmp.Or(compareVersions(b.version, a.version), cmp.Compare(a.version, b.version))
	})
	return kernels, nil
}

// entries lists a directory of the tree, or nothing.
func (i *installer) entries(dir string) []*tree.Node {
	_, n, err := i.tree.Resolve(dir)
	if err != nil || !n.Inode.IsDir() {
		return nil
	}
	return n.Children
}

// kernelVersion tells the version in the name of a kernel in /boot. What
// package managers leave beside kernels is none.
func kernelVersion(name, prefix string) (version string, ok bool) {
	version, ok = strings.CutPrefix(name, prefix)
	for _, suffix := range []string{".sig", ".hmac", ".old", ".bak", ".rpmsave", ".rpmnew", ".gz", ".xz"} {
		ok = ok && !strings.HasSuffix(version, suffix)
	}
	return version, ok && isVersion(version) && !strings.Contains(version, ".dpkg-")
}

// isVersion holds names of kernels to what can be written into every loader's
// configuration and every file system.
func isVersion(v string) bool {
	const good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-"
	return v != "" && len(v) <= 128 && v[0] != '.' && strings.Trim(v, good) == ""
}

func (i *installer) addKernel(found map[string]kernel, version, name string) {
	at, n, err := i.tree.Resolve(name)
	if err != nil || n.Inode.Type() != tree.TypeRegular || n.Inode.Size == 0 {
		return
	}
	k := kernel{version: version, path: at, image: n.Inode}
	for _, name := range []string{
		"/boot/initrd.img-" + version,
		"/boot/initramfs-" + version + ".img",
		"/boot/initrd-" + version,
		"/boot/initrd-" + version + ".img",
		"/boot/initramfs-" + version,
		path.Join(path.Dir(at), "initramfs.img"),
		path.Join(path.Dir(at), "initrd"),
	} {
		if at, n, err := i.tree.Resolve(name); err == nil && n.Inode.Type() == tree.TypeRegular && n.Inode.Size > 0 {
			k.initrdPath, k.initrd = at, n.Inode
			break
		}
	}
	found[version] = k
}

// compareVersions orders versions as Debian does (deb-version(7)), but for
// epochs: what follows the last dash counts only among equals.
func compareVersions(a, b string) int {
	aMain, aRest := cutRevision(a)
	bMain, bRest := cutRevision(b)
	return cmp.Or(compareParts(aMain, bMain), compareParts(aRest, bRest))
}

func cutRevision(v string) (main, revision string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// compareParts orders runs of digits by their value, other runs letters first,
// and a tilde before everything, the end included.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = cutRun(a, false)
		y, b = cutRun(b, false)
		if c := compareText(x, y); c != 0 {
			return c
		}
		x, a = cutRun(a, true)
		y, b = cutRun(b, true)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// cutRun cuts the longest beginning that is all digits, or has none.
func cutRun(s string, digits bool) (run, rest string) {
	n := 0
	for n < len(s) && isDigit(s[n]) == digits {
		n++
	}
	return s[:n], s[n:]
}

func compareText(a, b string) int {
	weight := func(s string, i int) int {
		switch {
		case i >= len(s):
			return 0
		case s[i] == '~':
			return -1
		case s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z':
			return int(s[i])
		}
		return int(s[i]) + 256
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}
