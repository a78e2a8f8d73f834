//go:build containers_image_openpgp

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/environ"
)

// options are the flags that dibber build, dibber ramdisk, disk-image-create and
// ramdisk-image-create share.
type options struct {
	arch, name      string
	ramdisk         bool // the command makes ramdisks
	clear           bool
	ramdiskElement  string
	dockerTarget    string
	types           []string
	trace           int
	uncompressed    bool
	skipBase        bool
	packages        []string
	checksum        bool
	imageSize       float64
	extraSize       float64
	imageCache      string
	maxOnlineResize string
	journalSize     int64
	mkfsOptions     string
	minTmpfs        int
	noTmpfs         bool
	offline         bool
	qemuImgOptions  string
	rootLabel       string
	installType     string
	logfile         string
	from            string
	squash, gzip    bool
	keepOld         bool
	progress        string
	keepOnFailure   bool
	unsafeHost      bool
	result          string
	pypiCache       bool
	push            pushFlags
}

// addTo defines diskimage-builder's flags. The names in backquotes stand for
// their values in help.
func (o *options) addTo(f *pflag.FlagSet) {
	o.types = []string{"qcow2"}
	f.StringVarP(&o.arch, "arch", "a", "", "architecture `ARCH` of the image: amd64, arm64, armhf, ...; the machine's by default")
	f.StringVarP(&o.name, "name", "o", "", "`NAME` of the outputs without extension (image); may hold a path")
	f.VarP(&list{items: &o.types, defaults: true}, "type", "t", "outputs `TYPES`, separated by commas, of "+strings.Join(outputTypes(), ", "))
	f.CountVarP(&o.trace, "trace", "x", "trace the hooks; twice: more")
	f.BoolVarP(&o.uncompressed, "uncompressed", "u", false, "leave a qcow2 uncompressed")
	f.BoolVarP(&o.clear, "clear", "c", false, "build without the variables of your environment, but for HOME, PATH and the like")
	f.BoolVarP(&o.skipBase, "no-base", "n", false, "leave the element base out")
	f.VarP(&list{items: &o.packages}, "packages", "p", "install `PACKAGES` too, separated by commas; may be repeated")
	f.BoolVar(&o.checksum, "checksum", false, "write .md5 and .sha256 files beside the outputs")
	f.Float64Var(&o.imageSize, "image-size", 0, "size of the disk in `GIB`; computed by default")
	f.Float64Var(&o.extraSize, "image-extra-size", 0, "size over the content in `MIB`, instead of the usual share")
	f.StringVar(&o.imageCache, "image-cache", "", "directory `DIR` for downloads of hooks (~/.cache/image-create)")
	f.StringVar(&o.maxOnlineResize, "max-online-resize", "", "number of `BLOCKS` that the root file system can grow to")
	f.Int64Var(&o.journalSize, "mkfs-journal-size", 0, "size of ext4's journal in `MIB` (64)")
	f.StringVar(&o.mkfsOptions, "mkfs-options", "", "`OPTIONS` for the root file system, as of mke2fs")
	f.IntVar(&o.minTmpfs, "min-tmpfs", 0, "size in `GIB` that a build in memory would need; nothing is built in memory, hooks are told")
	f.BoolVar(&o.noTmpfs, "no-tmpfs", false, "do not build in memory; nothing is, hooks are told")
	f.BoolVar(&o.offline, "offline", false, "use caches only, no network")
	f.StringVar(&o.qemuImgOptions, "qemu-img-options", "", "`OPTIONS` of disk images, as of qemu-img convert -o")
	f.StringVar(&o.rootLabel, "root-label", "", "`LABEL` of the root file system (cloudimg-rootfs)")
	f.StringVar(&o.ramdiskElement, "ramdisk-element", "", "`ELEMENT` that makes ramdisks (ramdisk)")
	f.StringVar(&o.installType, "install-type", "", "default install `TYPE`: source or package (source)")
	f.StringVar(&o.dockerTarget, "docker-target", "", "name `NAME[:TAG]` of the image of type docker; that of the outputs by default")
	f.StringVar(&o.logfile, "logfile", "", "write what hooks print to this `FILE`")
	f.BoolVar(&o.unsafeHost, "unsafe-host", false, "let hooks that run outside the image write wherever you may, instead of the build, the caches and the working directory")
}

// list is a flag that takes names separated by commas or blanks. Given again, it
// adds to them.
type list struct {
	items    *[]string
	defaults bool // items are what there is without the flag
	replace  bool // the flag given again begins anew, as -t of disk-image-create does
}

func (l *list) String() string { return strings.Join(*l.items, ",") }
func (l *list) Type() string   { return "list" }

func (l *list) Set(text string) error {
	if l.defaults || l.replace {
		*l.items, l.defaults = nil, false
	}
	*l.items = append(*l.items, strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })...)
	return nil
}

// places are the directories of one run.
type places struct {
	dirs
	builtin string // built-in elements
	cwd     string
	program string
}

func findPlaces() (places, error) {
	d, err := userDirs()
	if err != nil {
		return places{}, err
	}
	p := places{dirs: d}
	if p.builtin, err = d.builtinElements(); err != nil {
		return places{}, err
	}
	if p.cwd, err = os.Getwd(); err != nil {
		return places{}, err
	}
	p.program, err = os.Executable()
	return p, err
}

// job turns options, arguments and the environment into what to build. A flag
// wins over its environment variable. bothFirmwares chooses the layout of `vm`.
func (o *options) job(args []string, p places, bothFirmwares bool) (build.Job, error) {
	now, seed, err := identity(o.outputName())
	if err != nil {
		return build.Job{}, err
	}
	id := make([]byte, 4)
	rand.Read(id)
	j := build.Job{
		ID: hex.EncodeToString(id), Time: now, Now: time.Now, Seed: seed,
		Environ: append(userEnviron(), o.exports()...), Caller: caller(), Dir: p.cwd, Program: p.program,
		StateDir: p.containers(), CacheDir: p.cache,
		Name: o.outputName(), Types: writtenTypes(o.types), From: o.from, Packages: o.packages,
		Ramdisk:         o.ramdisk,
		ImageTag:        o.dockerTarget,
		Arch:            o.architecture(),
		MkfsOptions:     o.mkfsOptions,
		FSType:          first(os.Getenv("FS_TYPE"), "ext4"),
		RootLabel:       first(o.rootLabel, os.Getenv("ROOT_LABEL")),
		QemuImgOptions:  first(o.qemuImgOptions, os.Getenv("QEMU_IMG_OPTIONS")),
		Uncompressed:    o.uncompressed,
		GzipCommand:     strings.Fields(os.Getenv("DIB_GZIP_BIN")),
		BlockDevice:     os.Getenv("DIB_BLOCK_DEVICE_CONFIG"),
		Offline:         o.offline || os.Getenv("DIB_OFFLINE") != "",
		Insecure:        o.push.insecure,
		Squash:          o.squash,
		Gzip:            o.gzip,
		KeepOnFailure:   o.keepOnFailure,
		KeepOld:         o.keepOld,
		ImageCache:      p.absolute(first(o.imageCache, os.Getenv("DIB_IMAGE_CACHE"), "~/.cache/image-create")),
		TempDir:         os.Getenv("TMP_DIR"),
		InstallType:     first(o.installType, os.Getenv("DIB_DEFAULT_INSTALLTYPE")),
		Trace:           o.tracing(),
		ShowUsage:       isOn("DIB_SHOW_IMAGE_USAGE"),
		ShowAllUsage:    isOn("DIB_SHOW_IMAGE_USAGE_FULL"),
		DefaultElements: p.builtin,
		Args:            os.Args[1:],
		UnsafeHost:      o.unsafeHost,
		SkipBase:        o.skipBase,
		NoTmpfs:         o.noTmpfs || strings.Contains(os.Getenv("GENTOO_PROFILE"), "hardened"),
		MinTmpfs:        o.minTmpfs,
		Stdin:           os.Stdin,
		Terminal:        os.Stderr,
	}
	if err := o.checkTypes(); err != nil {
		return j, err
	}
	if j.Name == "" || strings.HasSuffix(j.Name, "/") {
		return j, &usageError{err: fmt.Errorf("-o %q names no output", o.name), hint: "end it with a name, such as image"}
	}
	if err := o.more(&j, p); err != nil {
		return j, err
	}
	j.ElementsPath = elementsPath(p.builtin)
	j.Elements = o.elements(args, j.Arch, bothFirmwares)
	return j, nil
}

// more reads what can be wrong.
func (o *options) more(j *build.Job, p places) error {
	var err error
	if j.Checksums, err = o.checksums(); err != nil {
		return err
	}
	if text := os.Getenv("DIB_BLOCK_SIZE"); text != "" {
		if j.BlockSize, err = strconv.ParseInt(text, 10, 64); err != nil || j.BlockSize <= 0 {
			return &usageError{err: fmt.Errorf("DIB_BLOCK_SIZE=%s is not a number of bytes", text)}
		}
	}
	if file := os.Getenv("ACI_MANIFEST"); file != "" && slices.Contains(o.types, "aci") {
		if j.ACIManifest, err = readManifest(p.absolute(file)); err != nil {
			return err
		}
	}
	return o.sizes(j)
}

// absolute gives a path of the user's without doubt about where it is. No shell has
// seen those in variables and definitions, so ~ is still there.
func (p *places) absolute(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(home(), rest)
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.cwd, path)
}

// readManifest reads what -t aci puts beside the root file system.
func readManifest(file string) ([]byte, error) {
	const most = 1 << 20
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > most) {
		err = fmt.Errorf("it is no file of at most %d bytes", most)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("cannot read ACI_MANIFEST=%s: %w", file, err), hint: "it names the manifest of the App Container Image, a file in JSON"}
	}
	return text, nil
}

// outputName is the name of the outputs. With a single type its ending may be
// there already.
func (o *options) outputName() string {
	name := first(o.name, os.Getenv("IMAGE_NAME"), "image")
	if len(o.types) == 1 {
		name = strings.TrimSuffix(name, "."+o.types[0])
	}
	return name
}

// exports gives the variables that disk-image-create exports when an option is
// used, besides those that a job has fields for.
func (o *options) exports() []string {
	var out []string
	if o.uncompressed {
		out = append(out, "COMPRESS_IMAGE=")
	}
	if o.dockerTarget != "" {
		out = append(out, "DOCKER_TARGET="+o.dockerTarget)
	}
	if o.logfile != "" {
		out = append(out, "LOGFILE="+o.logfile)
	}
	if o.ramdisk {
		out = append(out, "IS_RAMDISK=1", "RAMDISK_ELEMENT="+o.mainRamdiskElement())
	}
	return out
}

func (o *options) mainRamdiskElement() string {
	return first(o.ramdiskElement, os.Getenv("RAMDISK_ELEMENT"), "ramdisk")
}

// elements completes the user's list as disk-image-create does.
func (o *options) elements(args []string, arch string, bothFirmwares bool) []string {
	names := strings.Fields(os.Getenv("IMAGE_ELEMENT") + " " + strings.Join(args, " "))
	names = element.DefaultBlockDevice(names, arch, bothFirmwares)
	if !o.skipBase && os.Getenv("SKIP_BASE") != "1" {
		names = append([]string{"base"}, names...)
	}
	if o.ramdisk {
		names = append([]string{o.mainRamdiskElement()}, names...)
	}
	return names
}

// clearEnvironment takes the caller's variables away, if that is wanted, but for
// those by which programs and the user's directories are found, those of dibber
// itself, and those that DIBBER_KEEP_VARIABLES names, separated by blanks.
func (o *options) clearEnvironment() {
	if !o.clear && os.Getenv("CLEAR_ENV") != "1" {
		return
	}
	kept := append(strings.Fields(os.Getenv(keepVariable)), keepVariable, "HOME", "PATH", "USER", "LOGNAME", "TERM", "TMPDIR")
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		ours := strings.HasPrefix(name, "_DIBBER_") || strings.HasPrefix(name, "_CONTAINERS_") || strings.HasPrefix(name, "XDG_")
		if !ours && !slices.Contains(kept, name) {
			os.Unsetenv(name)
		}
	}
}

const keepVariable = "DIBBER_KEEP_VARIABLES"

// isOn tells whether a variable is set, and not to 0.
func isOn(variable string) bool {
	value := os.Getenv(variable)
	return value != "" && value != "0"
}

// unique keeps the first of equal names.
func unique(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// tracing is DIB_DEBUG_TRACE, which every -x raises by one.
func (o *options) tracing() int {
	if o.trace == 0 {
		return 0 // hooks see the variable as it is
	}
	already, err := strconv.Atoi(os.Getenv("DIB_DEBUG_TRACE"))
	if err != nil {
		already = 0
	}
	return o.trace + max(already, 0)
}

func elementsPath(builtin string) []string {
	var path []string
	if own := os.Getenv("ELEMENTS_PATH"); own != "" {
		path = strings.Split(own, ":")
	}
	return append(path, builtin)
}

func (o *options) checksums() ([]artifact.Kind, error) {
	v := os.Getenv("DIB_CHECKSUM")
	switch {
	case o.checksum || v == "1":
		return artifact.Kinds(), nil
	case v == "" || v == "0":
		return nil, nil
	}
	var kinds []artifact.Kind
	for _, name := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if !slices.Contains(artifact.Kinds(), artifact.Kind(name)) {
			return nil, &usageError{err: fmt.Errorf("DIB_CHECKSUM=%s: %q is not a kind of checksum", v, name), hint: "use md5, sha256 or both"}
		}
		kinds = append(kinds, artifact.Kind(name))
	}
	return kinds, nil
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

func (o *options) sizes(j *build.Job) error {
	image, err := number("--image-size", o.imageSize, "DIB_IMAGE_SIZE")
	if err != nil {
		return err
	}
	extra, err := number("--image-extra-size", o.extraSize, "DIB_IMAGE_EXTRA_SIZE")
	if err != nil {
		return err
	}
	journal, err := number("--mkfs-journal-size", float64(o.journalSize), "DIB_JOURNAL_SIZE")
	if err != nil {
		return err
	}
	j.ImageSize, j.ExtraSize, j.JournalSize = int64(image*gib), int64(extra*mib), int64(journal*mib)
	if j.JournalSize == 0 {
		j.JournalSize = 64 * mib
	}
	if text := first(o.maxOnlineResize, os.Getenv("MAX_ONLINE_RESIZE")); text != "" {
		if j.MaxOnlineResize, err = strconv.ParseInt(text, 10, 64); err != nil || j.MaxOnlineResize <= 0 {
			return &usageError{err: fmt.Errorf("--max-online-resize %s is not a number of blocks", text)}
		}
	}
	return nil
}

// number takes a flag's value, else that of its environment variable.
func number(flag string, value float64, variable string) (float64, error) {
	text := os.Getenv(variable)
	if value != 0 || text == "" {
		if value < 0 || value > 1<<23 || math.IsNaN(value) {
			return 0, &usageError{err: fmt.Errorf("%s %g is not a size", flag, value)}
		}
		return value, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v > 1<<23 || math.IsNaN(v) {
		return 0, &usageError{err: fmt.Errorf("%s=%s is not a size", variable, text)}
	}
	return v, nil
}

// identity gives the time of the build and the seed of its UUIDs. With
// SOURCE_DATE_EPOCH both are the same every time.
func identity(name string) (time.Time, [16]byte, error) {
	var seed [16]byte
	epoch, err := sourceDateEpoch()
	if err != nil || epoch == nil {
		rand.Read(seed[:])
		return time.Now().Truncate(time.Second), seed, err
	}
	sum := sha256.Sum256([]byte(strconv.FormatInt(*epoch, 10) + "\x00" + filepath.Base(name)))
	copy(seed[:], sum[:])
	return time.Unix(*epoch, 0).UTC(), seed, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func home() string {
	dir, err := os.UserHomeDir()
	if err != nil {
		return "/"
	}
	return dir
}

// userEnviron is the environment without what the way into the namespaces added.
func userEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "_CONTAINERS_") || strings.HasPrefix(v, "_DIBBER_")
	})
}

// machineArch is ARCH for this machine.
func machineArch() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	dpkg, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		dpkg = nil // not a Debian
	}
	return environ.Arch(unix.ByteSliceToString(name.Machine[:]), strings.TrimSpace(string(dpkg)))
}

// caller is who started dibber, as sudo would tell hooks: the user outside the
// namespaces.
func caller() environ.Caller {
	c := environ.Caller{UID: first(os.Getenv("_CONTAINERS_ROOTLESS_UID"), strconv.Itoa(os.Getuid())), GID: first(os.Getenv("_CONTAINERS_ROOTLESS_GID"), strconv.Itoa(os.Getgid()))}
	if u, err := user.LookupId(c.UID); err == nil {
		c.Name = u.Username
	}
	return c
}
