package bootloader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Loader is a way to start the tree's kernel.
type Loader string

// The loaders.
const (
	Auto        Loader = ""             // what the tree has, else GRUB of the machine
	GRUB        Loader = "grub"         // for BIOS and UEFI, as far as the disk has room for them
	SystemdBoot Loader = "systemd-boot" // UEFI; kernels on the ESP with entries of the Boot Loader Specification
	UKI         Loader = "uki"          // UEFI; kernel, initrd and arguments in one file on the ESP
	None        Loader = "none"         // /etc/fstab only
)

// Request says for which disk a tree is made bootable, and how.
type Request struct {
	Plan *layout.Plan // with all UUIDs fixed (Plan.Identify)
	Arch string       // amd64 or arm64; "" looks at the tree's programs

	Loader      Loader
	CommandLine string // arguments of the kernel after those that Install finds; what is here replaces a root=, console= or ro of the same name
	Console     string // serial console as the kernel takes it, "ttyS1,9600"; "" is the architecture's; "none"
	Timeout     int    // seconds that the menu waits; 0 starts the newest kernel at once
	Time        int64  // of the files, in seconds since the epoch

	Tools   Tools  // runs grub-mkimage; nil: Programs
	GRUBDir string // the machine's GRUB, for trees without; "": /usr/lib/grub
	TempDir string // for GRUB's modules while grub-mkimage reads them; "": the system's
}

// Files is what Install answers.
type Files struct {
	Tree   *tree.Tree // to lay over the tree
	Loader Loader     // the one chosen; never Auto
	BIOS   bool       // a BIOS starts it, once Place has put Boot and Core on the disk
	UEFI   bool       // UEFI firmware starts it

	Boot, Core []byte // GRUB's boot.img and core.img; nil without BIOS

	Kernels     []string // versions, the newest first
	CommandLine string   // what the kernels are started with
	Notes       []string // what was decided that the user may want to know
	Warnings    []string // what may not work
}

// Install gives the files that make the tree t boot from the disk of the
// request's plan. The tree is not trusted: its files are read within limits,
// and none of its programs runs.
//
// A tree without kernel gives an error that is ErrNoKernel, one without init
// an error that is ErrNoInit; both say which packages would help.
func Install(ctx context.Context, t *tree.Tree, r Request) (*Files, error) {
	files, err := install(ctx, t, r)
	if err != nil {
		return nil, fmt.Errorf("cannot make the disk bootable: %w", err)
	}
	return files, nil
}

func install(ctx context.Context, t *tree.Tree, r Request) (*Files, error) {
	i, err := newInstaller(t, r)
	if err != nil {
		return nil, err
	}
	rootRW := i.fstab()
	if i.files.Loader, err = i.choose(); err != nil {
		return nil, err
	}
	if i.files.Loader != None {
		if err := i.prepare(rootRW); err != nil {
			return nil, err
		}
	}
	switch i.files.Loader {
	case GRUB:
		err = i.grub(ctx)
	case SystemdBoot:
		err = i.systemdBoot()
	case UKI:
		err = i.unified()
	}
	if err != nil {
		return nil, err
	}
	i.files.Tree, err = i.add.tree()
	return i.files, err
}

// installer holds what the steps of one Install share.
type installer struct {
	tree  *tree.Tree
	req   Request
	sys   system
	disk  target
	add   *additions
	files *Files

	kernels []kernel // the newest first
	own     []string // arguments of the kernel that no other configuration of the tree has
}

func newInstaller(t *tree.Tree, r Request) (*installer, error) {
	if r.Tools == nil {
		r.Tools = Programs{}
	}
	if r.Timeout < 0 {
		return nil, fmt.Errorf("the menu cannot wait %d seconds", r.Timeout)
	}
	for _, text := range []string{r.CommandLine, r.Console} {
		if strings.ContainsFunc(text, isControl) {
			return nil, fmt.Errorf("the kernel's arguments %q hold a control character", text)
		}
	}
	disk, err := newTarget(r.Plan)
	if err != nil {
		return nil, err
	}
	i := &installer{
		tree: t, req: r, disk: disk,
		sys:   readSystem(t, r.Arch),
		add:   newAdditions(t, r.Time),
		files: &Files{},
	}
	return i, nil
}

// choose settles the loader.
func (i *installer) choose() (Loader, error) {
	switch i.req.Loader {
	case None:
		return None, nil
	case GRUB, SystemdBoot, UKI, Auto:
	default:
		return "", fmt.Errorf("the boot loader %q is none of grub, systemd-boot, uki and none", i.req.Loader)
	}
	if i.disk.label == "" {
		if i.req.Loader != Auto {
			return "", fmt.Errorf("the disk has no partition table, so there is no place for %s", i.req.Loader)
		}
		i.note("no boot loader: the disk has no partition table")
		return None, nil
	}
	if _, err := i.sys.platform(); err != nil {
		if _, none := i.findKernels(); none != nil {
			return "", none // says more of what the tree is than its lack of programs
		}
		return "", err
	}
	if i.req.Loader != Auto {
		return i.req.Loader, nil
	}
	switch {
	case i.treeHasGRUB():
		return GRUB, nil
	case i.disk.esp != "" && i.has(i.sys.sdBoot()):
		return SystemdBoot, nil
	case i.disk.esp != "" && !i.machineHasGRUB() && i.has(i.sys.stub()):
		return UKI, nil
	}
	return GRUB, nil
}

// prepare finds what every loader starts: kernels, init and arguments.
func (i *installer) prepare(rootRW bool) error {
	var err error
	if i.kernels, err = i.findKernels(); err != nil {
		return err
	}
	for _, k := range i.kernels {
		i.files.Kernels = append(i.files.Kernels, k.version)
	}
	if i.files.CommandLine, err = i.commandLine(rootRW); err != nil {
		return err
	}
	if err := i.checkInit(); err != nil {
		return err
	}
	i.checkSystemd()
	return nil
}

// has tells whether the tree has a file that is not empty.
func (i *installer) has(name string) bool {
	_, n, err := i.tree.Resolve(name)
	return err == nil && n.Inode.Type() == tree.TypeRegular && n.Inode.Size > 0
}

func (i *installer) note(format string, args ...any) {
	i.files.Notes = append(i.files.Notes, fmt.Sprintf(format, args...))
}

func (i *installer) warn(format string, args ...any) {
	i.files.Warnings = append(i.files.Warnings, fmt.Sprintf(format, args...))
}

// commandLine gives the kernel's arguments: where the root file system is, the
// consoles, and what the user and the tree's own configuration add.
func (i *installer) commandLine(rootRW bool) (string, error) {
	wanted := slices.Concat(i.grubDefaults(), words(i.req.CommandLine))
	given := func(names ...string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool {
			name, _, _ := strings.Cut(w, "=")
			return slices.Contains(names, name)
		})
	}
	if !given("console") {
		i.own = i.consoles()
	}
	// Alpine's initrd loads no file system that it is not told of.
	if fs := i.disk.root.Type; i.sys.family("alpine") != "" && !given("rootfstype", "modules") {
		i.own = append(i.own, "modules=sd-mod,usb-storage,"+fs, "rootfstype="+fs)
	}
	ours := slices.Clone(i.own)
	for _, w := range words(i.req.CommandLine) {
		if !isRoot(w) {
			i.own = append(i.own, w)
		}
	}
	var args []string
	if !given("root") {
		root, err := i.rootArgument()
		if err != nil {
			return "", err
		}
		args = append(args, root)
	}
	if !given("ro", "rw") {
		args = append(args, map[bool]string{false: "ro", true: "rw"}[rootRW])
	}
	return joinWords(slices.Concat(args, ours, wanted)), nil
}

// isRoot tells whether an argument says where or how the root file system is
// mounted, which boot loaders' own tools find out by themselves.
func isRoot(arg string) bool {
	return strings.HasPrefix(arg, "root=") || arg == "ro" || arg == "rw"
}

// rootArgument names the root file system. Without an initrd the kernel itself
// looks for it and knows partitions only.
func (i *installer) rootArgument() (string, error) {
	if k := i.kernels[0]; k.initrd == nil {
		if i.disk.rootPart == "" {
			return "", fmt.Errorf("the kernel %s has no initrd, and without one only a root file system on a partition is found", k.version)
		}
		i.warn("the kernel %s has no initrd: it boots only if drivers for the disk and for %s are built into it%s",
			k.version, i.disk.root.Type, i.sys.initrdHint())
		return "root=" + i.disk.rootPart, nil
	}
	return "root=" + i.disk.rootName, nil
}

const noConsole = "none"

// consoles lists the consoles; the system itself talks to the last one.
func (i *installer) consoles() []string {
	serial := i.serial()
	if serial == "" {
		return nil
	}
	return []string{"console=tty0", "console=" + serial}
}

func (i *installer) serial() string {
	switch i.req.Console {
	case noConsole:
		return ""
	case "":
		if i.sys.arch == "arm64" {
			return "ttyAMA0,115200"
		}
		return "ttyS0,115200"
	}
	return i.req.Console
}

// checkInit refuses a tree in which the kernel would find nothing to run.
func (i *installer) checkInit() error {
	if strings.Contains(" "+i.files.CommandLine, " init=") || strings.Contains(" "+i.files.CommandLine, " rdinit=") {
		return nil
	}
	for _, name := range []string{"/sbin/init", "/etc/init", "/bin/init"} {
		if i.has(name) {
			return nil
		}
	}
	for _, name := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if i.has(name) {
			i.warn("the tree has systemd but no /sbin/init%s: the kernel is told init=%s", i.sys.initHint(), name)
			i.files.CommandLine += " init=" + name
			i.own = append(i.own, "init="+name)
			return nil
		}
	}
	return fmt.Errorf("%w%s, or name another one with init=PATH on the kernel's command line", ErrNoInit, i.sys.initHint())
}

// checkSystemd tells of what keeps systemd from starting a machine, or many.
func (i *installer) checkSystemd() {
	if !i.has("/usr/lib/systemd/systemd") && !i.has("/lib/systemd/systemd") {
		return
	}
	const id = "/etc/machine-id"
	switch _, n, err := i.tree.Resolve(id); {
	case errors.Is(err, fs.ErrNotExist):
		// systemd makes one if it can write to /etc or finds an empty file to
		// mount over, and halts otherwise.
		i.add.text(id, "")
	case err == nil && n.Inode.Size > int64(len("uninitialized\n")):
		i.warn("%s is not empty: every machine made of this image will have the same ID", id)
	}
	if _, _, err := i.tree.Resolve("/.dockerenv"); err == nil {
		i.warn("the tree has /.dockerenv: systemd will take the machine for a container and leave out much; remove that file")
	}
}

// ErrNoKernel is the error for a tree without a kernel.
var ErrNoKernel = errors.New("the tree has no kernel")

// ErrNoInit is the error for a tree with nothing that the kernel could run.
var ErrNoInit = errors.New("the tree has no /sbin/init")
