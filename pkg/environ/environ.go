package environ

import (
	"maps"
	"slices"
	"strings"
)

// Env is a set of exported variables.
type Env struct {
	values map[string]string
	caller Caller
}

// Caller is the user who started the build, as sudo tells hooks of them.
type Caller struct {
	Name     string // empty: hooks are told of nobody
	UID, GID string
}

// insidePath is PATH for hooks that run inside the target. The shims come
// first; then, as diskimage-builder quotes it, the five characters "$PATH".
const insidePath = "/tmp/dibber/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// New takes variables in the form of os.Environ. Of two that have the same
// name the later one counts, as in bash; what is no assignment is dropped.
func New(user []string) *Env {
	e := &Env{values: map[string]string{}}
	for _, assignment := range user {
		name, value, ok := strings.Cut(assignment, "=")
		if ok && name != "" {
			e.values[name] = value
		}
	}
	return e
}

// Set exports a variable.
func (e *Env) Set(name, value string) { e.values[name] = value }

// Get gives the value of a variable and whether it is exported.
func (e *Env) Get(name string) (string, bool) {
	value, ok := e.values[name]
	return value, ok
}

// Unset takes variables away.
func (e *Env) Unset(names ...string) {
	for _, name := range names {
		delete(e.values, name)
	}
}

// Outside gives the variables for a phase that runs outside the target,
// sorted by name. TARGET_ROOT is set only in root and cleanup.
func (e *Env) Outside(phase string) []string {
	seen := maps.Clone(e.values)
	seen["PATH"] = withSystemDirs(seen["PATH"])
	if mount, ok := seen["TMP_MOUNT_PATH"]; ok && (phase == "root" || phase == "cleanup") {
		seen["TARGET_ROOT"] = mount
	}
	asRoot(seen)
	return assignments(seen)
}

// Inside gives the variables for a phase that runs inside the target, sorted
// by name: without what sudo drops and what means something only outside.
func (e *Env) Inside() []string {
	seen := maps.Clone(e.values)
	maps.DeleteFunc(seen, func(name, value string) bool { return staysOutside(name, value) })
	seen["PATH"] = insidePath
	seen["HOME"] = "/root"
	if e.caller.Name != "" {
		seen["SUDO_USER"] = e.caller.Name
		seen["SUDO_UID"] = e.caller.UID
		seen["SUDO_GID"] = e.caller.GID
		seen["SUDO_COMMAND"] = "/tmp/in_target.d/dib-run-parts"
	}
	asRoot(seen)
	return assignments(seen)
}

// asRoot sets what every hook sees: it is root of the build's user namespace,
// and sorts by bytes. With the caller's USER a "chown $USER:" of a hook would
// give files to a subordinate id.
func asRoot(seen map[string]string) {
	seen["USER"] = "root"
	seen["LOGNAME"] = "root"
	seen["LC_ALL"] = "C"
}

// staysOutside tells whether a variable is kept from the inside.
func staysOutside(name, value string) bool {
	if strings.HasPrefix(name, "BASH_FUNC_") || strings.HasPrefix(name, "_CONTAINERS_") ||
		strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "_RLD") || strings.HasPrefix(name, "SUDO_") ||
		strings.HasPrefix(value, "()") {
		return true
	}
	switch name {
	case "TMPDIR", "VIRTUAL_ENV", "TARGET_ROOT":
		return true
	// What sudo always removes.
	case "BASHOPTS", "BASH_ENV", "CDPATH", "ENV", "FPATH", "GLOBIGNORE", "HOSTALIASES", "IFS", "JAVA_TOOL_OPTIONS",
		"LOCALDOMAIN", "NLSPATH", "NULLCMD", "PATH_LOCALE", "PERL5DB", "PERL5LIB", "PERL5OPT", "PERLIO_DEBUG", "PERLLIB",
		"PS4", "PYTHONHOME", "PYTHONINSPECT", "PYTHONPATH", "PYTHONUSERBASE", "READNULLCMD", "RES_OPTIONS", "RUBYLIB",
		"RUBYOPT", "SHELLOPTS", "TERMCAP", "TERMINFO", "TERMINFO_DIRS", "TERMPATH", "TMPPREFIX", "ZDOTDIR":
		return true
	}
	return false
}

// withSystemDirs appends to PATH the directories of administration that are
// not in it.
func withSystemDirs(path string) string {
	if path == "" {
		return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for _, dir := range []string{"/sbin", "/usr/sbin", "/usr/local/sbin"} {
		if !slices.Contains(strings.Split(path, ":"), dir) {
			path += ":" + dir
		}
	}
	return path
}

// assignments drops what no process can be given: a NUL ends a variable.
func assignments(values map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if assignment := name + "=" + values[name]; !strings.Contains(assignment, "\x00") {
			list = append(list, assignment)
		}
	}
	return list
}
