package environ

import (
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// Seed is what the core of diskimage-builder knows before the first phase.
// An empty field leaves what the user exported, or else the default.
type Seed struct {
	Caller Caller

	Lib        string   // _LIB: the directory of the libraries that hooks source
	Elements   string   // _BASE_ELEMENT_DIR: the directory of the built-in elements
	Python     string   // DIB_PYTHON_EXEC
	Args       []string // DIB_ARGS: the command line, without the command
	BuildDir   string   // TMP_BUILD_DIR; TMP_HOOKS_PATH and TMP_MOUNT_PATH lie in it
	ImageDir   string   // TMP_IMAGE_DIR
	ImageCache string   // DIB_IMAGE_CACHE
	LockFiles  string   // DIB_LOCKFILES
	Params     string   // DIB_BLOCK_DEVICE_PARAMS_YAML

	Path []string     // ELEMENTS_PATH
	Set  *element.Set // IMAGE_ELEMENT, IMAGE_ELEMENT_YAML, get_image_element_array

	Arch      string // ARCH
	ImageName string // IMAGE_NAME; default image
	ImageType string // IMAGE_TYPE; default qcow2
	FSType    string // FS_TYPE; default ext4

	RootLabel   string   // DIB_ROOT_LABEL
	RootFSType  string   // DIB_ROOT_FSTYPE
	BootLabel   string   // DIB_BOOT_LABEL
	MountPoints []string // DIB_MOUNTPOINTS, in the order of the configuration

	DebugTrace      int      // DIB_DEBUG_TRACE; default 0
	Offline         bool     // DIB_OFFLINE
	Checksum        string   // DIB_CHECKSUM; default 0
	NoTmpfs         bool     // DIB_NO_TMPFS; default 0
	MinTmpfs        int      // DIB_MIN_TMPFS, in GiB; default 2
	ImageSize       string   // DIB_IMAGE_SIZE, in GiB until post-root is over
	ImageExtraSize  string   // DIB_IMAGE_EXTRA_SIZE, in MiB
	JournalSize     string   // DIB_JOURNAL_SIZE, in MiB; default 64
	MaxOnlineResize string   // MAX_ONLINE_RESIZE
	Packages        []string // INSTALL_PACKAGES
	SkipBase        bool     // SKIP_BASE
}

// Env gives the variables for hooks. user is what the user exported, in the
// form of os.Environ. What the disk fixes and what Set holds is always ours.
func (s Seed) Env(user []string) *Env {
	e := New(user)
	e.caller = s.Caller
	s.setPaths(e)
	s.setImage(e)
	s.setOptions(e)
	e.Set("DIB_ARGS", strings.Join(s.Args, " "))
	e.Set("DIB_ENV", s.declared(user))
	e.Set("BASH_FUNC_die%%", dieFunction)
	return e
}

// declared is DIB_ENV: what the user exported, and the command line, which
// diskimage-builder has exported when it notes this. Images keep it, so paths of
// this one build are not in it.
func (s Seed) declared(user []string) string {
	known := New(user)
	known.Set("DIB_ARGS", strings.Join(s.Args, " "))
	return Declare(assignments(known.values))
}

// dieFunction prints its arguments and ends the hook with the status of the
// command before it, or 1 if that succeeded.
const dieFunction = "() {  local status=$?;\n set +o xtrace;\n printf '%s\\n' \"$*\";\n exit $((status ? status : 1))\n}"

// setPaths sets the names of files and directories.
func (s Seed) setPaths(e *Env) {
	e.override("_LIB", s.Lib)
	e.override("_BASE_ELEMENT_DIR", s.Elements)
	e.override("DIB_PYTHON_EXEC", s.Python)
	e.override("DIB_IMAGE_CACHE", s.ImageCache)
	e.override("DIB_LOCKFILES", s.LockFiles)
	e.override("DIB_BLOCK_DEVICE_PARAMS_YAML", s.Params)
	e.override("ELEMENTS_PATH", strings.Join(s.Path, ":"))
	e.override("TMP_IMAGE_DIR", s.ImageDir)
	if s.BuildDir != "" {
		e.Set("TMP_BUILD_DIR", s.BuildDir)
		e.Set("TMP_HOOKS_PATH", s.BuildDir+"/hooks")
		e.Set("TMP_MOUNT_PATH", s.BuildDir+"/mnt")
	}
	e.Unset("TARGET_ROOT")
	e.Set("OUT_IMAGE_PATH", "")
	// These are used by the ramdisk element, which must find them set.
	e.Set("TMP_IMAGE_PATH", "/tmp/dib-ramdisk.img")
	e.fallback("EXTRA_DETACH", "")
	e.fallback("EXTRA_UNMOUNT", "")
}

// setImage sets what the image is made of.
func (s Seed) setImage(e *Env) {
	if s.Set != nil {
		e.Set("IMAGE_ELEMENT", s.Set.ImageElement())
		e.Set("IMAGE_ELEMENT_YAML", s.Set.YAML())
		e.Set("BASH_FUNC_get_image_element_array%%", s.Set.ArrayFunction())
	}
	e.override("ARCH", s.Arch)
	e.override("IMAGE_NAME", s.ImageName)
	e.fallback("IMAGE_NAME", "image")
	e.override("IMAGE_TYPE", s.ImageType)
	e.fallback("IMAGE_TYPE", "qcow2")
	e.override("FS_TYPE", s.FSType)
	e.fallback("FS_TYPE", "ext4")
	e.Set("DIB_ROOT_LABEL", s.RootLabel)
	e.Set("DIB_ROOT_FSTYPE", s.RootFSType)
	e.Set("DIB_BOOT_LABEL", s.BootLabel)
	e.Set("DIB_MOUNTPOINTS", strings.Join(s.MountPoints, "|"))
}

// setOptions sets what the command line can say too.
func (s Seed) setOptions(e *Env) {
	e.override("DIB_DEBUG_TRACE", positive(s.DebugTrace))
	e.fallback("DIB_DEBUG_TRACE", "0")
	e.override("DIB_OFFLINE", flag(s.Offline))
	e.fallback("DIB_OFFLINE", "")
	e.override("DIB_CHECKSUM", s.Checksum)
	e.fallback("DIB_CHECKSUM", "0")
	e.override("DIB_NO_TMPFS", flag(s.NoTmpfs))
	e.fallback("DIB_NO_TMPFS", "0")
	e.override("DIB_MIN_TMPFS", positive(s.MinTmpfs))
	e.fallback("DIB_MIN_TMPFS", "2")
	e.override("DIB_IMAGE_SIZE", s.ImageSize)
	e.override("DIB_IMAGE_EXTRA_SIZE", s.ImageExtraSize)
	e.override("DIB_JOURNAL_SIZE", s.JournalSize)
	e.fallback("DIB_JOURNAL_SIZE", "64")
	e.fallback("DIB_SHOW_IMAGE_USAGE", "0")
	e.fallback("DIB_SHOW_IMAGE_USAGE_FULL", "0")
	e.override("MAX_ONLINE_RESIZE", s.MaxOnlineResize)
	e.override("INSTALL_PACKAGES", strings.Join(s.Packages, " "))
	e.override("SKIP_BASE", flag(s.SkipBase))
}

// override sets a variable unless value is empty.
func (e *Env) override(name, value string) {
	if value != "" {
		e.Set(name, value)
	}
}

// fallback sets a variable that is unset or empty, as ${NAME:-value} does.
func (e *Env) fallback(name, value string) {
	if e.values[name] == "" {
		e.Set(name, value)
	}
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

func positive(n int) string {
	if n > 0 {
		return strconv.Itoa(n)
	}
	return ""
}

// Arch gives ARCH for the machine that builds: what dpkg calls its
// architecture where there is dpkg, else the name that uname -m gives, in the
// words of diskimage-builder.
func Arch(machine, dpkg string) string {
	switch {
	case dpkg != "":
		return strings.TrimSpace(dpkg)
	case machine == "x86_64":
		return "amd64"
	case machine == "aarch64":
		return "arm64"
	case strings.HasPrefix(machine, "armv"):
		return "armhf"
	}
	return machine
}

// InstallType gives the text of environment.d/11-dib-install-type.bash, which
// tells hooks the default install type from extra-data on.
func InstallType(installType string) string {
	if installType == "" {
		installType = "source"
	}
	return "export DIB_DEFAULT_INSTALLTYPE=${DIB_DEFAULT_INSTALLTYPE:-" + bashQuote(installType) + "}\n"
}
