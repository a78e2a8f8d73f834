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

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/output"
)

// options are the flags that dibber build and disk-image-create share.
type options struct {
	arch, name      string
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
	result          string
}

// addTo defines diskimage-builder's flags.
func (o *options) addTo(f *pflag.FlagSet) {
	f.StringVarP(&o.arch, "arch", "a", "", "architecture of the image (amd64, arm64, ...); the machine's by default")
	f.StringVarP(&o.name, "name", "o", "image", "name of the outputs without extension; may hold a path")
	f.StringSliceVarP(&o.types, "type", "t", []string{"qcow2"}, "outputs, separated by commas: "+strings.Join(output.Types(), ", "))
	f.CountVarP(&o.trace, "trace", "x", "trace the hooks; twice: more")
	f.BoolVarP(&o.uncompressed, "uncompressed", "u", false, "leave a qcow2 uncompressed")
	f.BoolVarP(&o.skipBase, "no-base", "n", false, "leave the element base out")
	f.StringSliceVarP(&o.packages, "packages", "p", nil, "more packages to install, separated by commas")
	f.BoolVar(&o.checksum, "checksum", false, "write .md5 and .sha256 files beside the outputs")
	f.Float64Var(&o.imageSize, "image-size", 0, "size of the disk in GiB; computed by default")
	f.Float64Var(&o.extraSize, "image-extra-size", 0, "size over the content in MiB, instead of the usual share")
	f.StringVar(&o.imageCache, "image-cache", "", "where hooks cache downloads (~/.cache/image-create)")
	f.StringVar(&o.maxOnlineResize, "max-online-resize", "", "blocks that the root file system can grow to")
	f.Int64Var(&o.journalSize, "mkfs-journal-size", 0, "size of ext4's journal in MiB (64)")
	f.StringVar(&o.mkfsOptions, "mkfs-options", "", "options for the root file system, as of mke2fs")
	f.IntVar(&o.minTmpfs, "min-tmpfs", 0, "accepted and not needed: nothing is built on a tmpfs")
	f.BoolVar(&o.noTmpfs, "no-tmpfs", false, "accepted and not needed: nothing is built on a tmpfs")
	f.BoolVar(&o.offline, "offline", false, "use caches only, no network")
	f.StringVar(&o.qemuImgOptions, "qemu-img-options", "", "options of the qcow2, as of qemu-img convert -o")
	f.StringVar(&o.rootLabel, "root-label", "", "label of the root file system (cloudimg-rootfs)")
	f.StringVar(&o.installType, "install-type", "", "default install type: source or package")
	f.StringVar(&o.logfile, "logfile", "", "write what hooks print to this file")
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
	now, seed, err := identity(o.name)
	if err != nil {
		return build.Job{}, err
	}
	id := make([]byte, 4)
	rand.Read(id)
	j := build.Job{
		ID: hex.EncodeToString(id), Time: now, Now: time.Now, Seed: seed,
		Environ: userEnviron(), Caller: caller(), Dir: p.cwd, Program: p.program,
		StateDir: p.containers(), CacheDir: p.cache,
		Name: o.name, Types: unique(o.types), From: o.from, Packages: o.packages,
		Arch:            first(o.arch, os.Getenv("ARCH"), machineArch()),
		MkfsOptions:     o.mkfsOptions,
		FSType:          first(os.Getenv("FS_TYPE"), "ext4"),
		RootLabel:       first(o.rootLabel, os.Getenv("ROOT_LABEL")),
		QemuImgOptions:  first(o.qemuImgOptions, os.Getenv("QEMU_IMG_OPTIONS")),
		Uncompressed:    o.uncompressed,
		BlockDevice:     os.Getenv("DIB_BLOCK_DEVICE_CONFIG"),
		Offline:         o.offline || os.Getenv("DIB_OFFLINE") != "",
		Squash:          o.squash,
		Gzip:            o.gzip,
		KeepOnFailure:   o.keepOnFailure,
		KeepOld:         o.keepOld,
		ImageCache:      first(o.imageCache, os.Getenv("DIB_IMAGE_CACHE"), filepath.Join(home(), ".cache/image-create")),
		TempDir:         os.Getenv("TMP_DIR"),
		InstallType:     first(o.installType, os.Getenv("DIB_DEFAULT_INSTALLTYPE")),
		Trace:           o.tracing(),
		DefaultElements: p.builtin,
		Args:            os.Args[1:],
	}
	if err := checkTypes(j.Types); err != nil {
		return j, err
	}
	if len(j.Types) == 1 {
		j.Name = strings.TrimSuffix(j.Name, "."+j.Types[0])
	}
	if j.Name == "" || strings.HasSuffix(j.Name, "/") {
		return j, &usageError{err: fmt.Errorf("-o %q names no output", o.name), hint: "end it with a name, such as image"}
	}
	if !filepath.IsAbs(j.ImageCache) {
		j.ImageCache = filepath.Join(p.cwd, j.ImageCache)
	}
	if j.Checksums, err = o.checksums(); err != nil {
		return j, err
	}
	if text := os.Getenv("DIB_BLOCK_SIZE"); text != "" {
		if j.BlockSize, err = strconv.ParseInt(text, 10, 64); err != nil || j.BlockSize <= 0 {
			return j, &usageError{err: fmt.Errorf("DIB_BLOCK_SIZE=%s is not a number of bytes", text)}
		}
	}
	if err := o.sizes(&j); err != nil {
		return j, err
	}
	j.ElementsPath = elementsPath(p.builtin)
	j.Elements = o.elements(args, j.Arch, bothFirmwares)
	return j, nil
}

// elements completes the user's list as disk-image-create does.
func (o *options) elements(args []string, arch string, bothFirmwares bool) []string {
	list := append(strings.Fields(os.Getenv("IMAGE_ELEMENT")), args...)
	list = element.DefaultBlockDevice(list, arch, bothFirmwares)
	if o.skipBase || os.Getenv("SKIP_BASE") == "1" {
		return list
	}
	return append([]string{"base"}, list...)
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
	for _, name := range strings.Split(v, ",") {
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
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "_CONTAINERS_") })
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
