//go:build containers_image_openpgp

package container

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/engine"
)

// RunEngineProcess is the process that becomes a container's command: first in
// its namespaces, started by an Engine. It does not return.
func RunEngineProcess() {
	child := &engineChild{report: os.NewFile(fdReport, "report")}
	syscall.CloseOnExec(fdReport)
	err := child.run()
	child.told.Status, child.told.Error = 125, err.Error()
	var start *engine.StartError
	if errors.As(err, &start) {
		child.told.Status = start.Status
	}
	json.NewEncoder(child.report).Encode(child.told)
	os.Exit(child.told.Status)
}

// engineChild makes its mounts below the container's root and then sees nothing
// but that.
type engineChild struct {
	spec   childSpec
	report *os.File
	told   childReport
	root   int // descriptor of the root directory
}

func (c *engineChild) run() error {
	pipe := os.NewFile(fdProcess, "spec")
	err := json.NewDecoder(pipe).Decode(&c.spec)
	if err = errors.Join(err, pipe.Close()); err != nil {
		return fmt.Errorf("internal error: reading the container's process: %w", err)
	}
	for _, step := range []func() error{c.openRoot, c.mountKernel, c.mountFiles, c.mountVolumes, c.enter} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(c.spec.Process.Hostname)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return c.become()
}

// openRoot makes the root a mount of this namespace, which is cut off from others.
func (c *engineChild) openRoot() (err error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(c.spec.Root, c.spec.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding the container's root: %w", err)
	}
	c.root, err = unix.Open(c.spec.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// mountKernel mounts /proc, /dev and /sys. An image in which these are links is
// refused: what is mounted over them would land elsewhere.
func (c *engineChild) mountKernel() error {
	for _, name := range []string{"proc", "dev", "sys"} {
		path := filepath.Join(c.spec.Root, name)
		err := os.Mkdir(path, 0o755)
		if err == nil {
			c.told.Made = append(c.told.Made, name)
		}
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return errors.Join(fmt.Errorf("/%s of the image is no directory", name), err)
		}
	}
	// Where the kernel refuses a new /proc, that of the build has to do.
	proc := filepath.Join(c.spec.Root, "proc")
	if mountProc(proc) != nil {
		if err := unix.Mount("/proc", proc, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mounting /proc: %w", err)
		}
	}
	if err := mountDev(filepath.Join(c.spec.Root, "dev")); err != nil {
		return err
	}
	sys := filepath.Join(c.spec.Root, "sys")
	if err := unix.Mount("/sys", sys, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding /sys: %w", err)
	}
	return remountReadOnly(sys)
}

func (c *engineChild) mountFiles() error {
	for _, path := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		if err := c.bind(engine.Volume{Source: c.spec.Files[path], Target: path}); err != nil {
			return err
		}
	}
	return nil
}

func (c *engineChild) mountVolumes() error {
	for _, v := range c.spec.Process.Volumes {
		if err := c.bind(v); err != nil {
			return err
		}
	}
	return nil
}

// bind mounts a volume where its target is to who sees only the container.
func (c *engineChild) bind(v engine.Volume) error {
	dir := true
	if v.Source != "" {
		info, err := os.Stat(v.Source)
		if err != nil {
			return fmt.Errorf("cannot bind %s: %w", v.Source, err)
		}
		dir = info.IsDir()
	}
	fd, err := c.reach(filepath.Clean(v.Target), dir)
	if err != nil {
		return fmt.Errorf("cannot mount over %s: %w", v.Target, err)
	}
	defer unix.Close(fd)
	at := fmt.Sprintf("/proc/self/fd/%d", fd)
	if v.Source == "" {
		err = unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	} else {
		err = unix.Mount(v.Source, at, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("cannot mount %s over %s: %w", v.Source, v.Target, err)
	}
	if !v.ReadOnly {
		return nil
	}
	path, err := os.Readlink(at)
	if err != nil {
		return err
	}
	return remountReadOnly(path)
}

// maxDepth bounds how many directories are made for a mount point.
const maxDepth = 64

// reach opens a path as one of the container, whatever links the image has in
// it, and makes what is missing of it: directories, and at the end a file unless
// dir.
func (c *engineChild) reach(path string, dir bool) (int, error) {
	if strings.Count(path, "/") > maxDepth {
		return -1, errors.New("it is too deep")
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(c.root, path, how)
	if !errors.Is(err, unix.ENOENT) || path == "/" {
		return fd, err
	}
	parent, err := c.reach(filepath.Dir(path), true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	name := filepath.Base(path)
	if dir {
		err = unix.Mkdirat(parent, name, 0o755)
	} else {
		var made int
		if made, err = unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644); err == nil {
			unix.Close(made)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("making %s: %w", path, err)
	}
	if above, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", parent)); err == nil {
		if inner, err := filepath.Rel(c.spec.Root, filepath.Join(above, name)); err == nil {
			c.told.Made = append(c.told.Made, inner)
		}
	}
	return unix.Openat2(c.root, path, how)
}

// enter makes the container's root that of this process, and drops the machine's.
func (c *engineChild) enter() error {
	if err := unix.Chdir(c.spec.Root); err != nil {
		return err
	}
	if unix.PivotRoot(".", ".") == nil {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leaving the machine's root: %w", err)
		}
	} else if err := unix.Chroot("."); err != nil { // pods may refuse the better way
		return fmt.Errorf("entering the container: %w", err)
	}
	return unix.Chdir("/")
}

// become takes the user's ids and runs the command.
func (c *engineChild) become() error {
	p := c.spec.Process
	who, err := findUser(p.User)
	if err != nil {
		return err
	}
	env := p.Env
	for name, value := range map[string]string{"HOME": who.home, "HOSTNAME": p.Hostname} {
		if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
			env = append(env, name+"="+value)
		}
	}
	if p.Dir != "" {
		if err := os.MkdirAll(p.Dir, 0o755); err != nil {
			return &engine.StartError{Status: 126, Err: fmt.Errorf("cannot work in %s: %w", p.Dir, err)}
		}
		if err := unix.Chdir(p.Dir); err != nil {
			return &engine.StartError{Status: 126, Err: fmt.Errorf("cannot work in %s: %w", p.Dir, err)}
		}
	}
	if err := who.become(); err != nil {
		return err
	}
	path, err := findProgram(p.Args[0], env)
	if err != nil {
		return err
	}
	// The report ends the engine's waiting; the descriptor closes with exec.
	if err := json.NewEncoder(c.report).Encode(c.told); err != nil {
		return err
	}
	c.told = childReport{}
	err = syscall.Exec(path, p.Args, env)
	status := 126
	if errors.Is(err, unix.ENOENT) {
		status = 127
	}
	fmt.Fprintf(os.Stderr, "dibber: cannot run %s: %v\n", p.Args[0], err)
	os.Exit(status)
	return nil
}

// findProgram looks for a command as a shell does.
func findProgram(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, checkProgram(name)
	}
	list := ""
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = value
		}
	}
	notFound := error(&engine.StartError{Status: 127, Err: fmt.Errorf("%s is in no directory of PATH (%s) of the container", name, list)})
	for _, dir := range filepath.SplitList(list) {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + name
		err := checkProgram(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			notFound = err
		}
	}
	return "", notFound
}

func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return &engine.StartError{Status: 127, Err: fmt.Errorf("cannot run %s: %w", path, fs.ErrNotExist)}
	case err != nil:
		return &engine.StartError{Status: 126, Err: fmt.Errorf("cannot run %s: %w", path, err)}
	case info.IsDir() || unix.Access(path, unix.X_OK) != nil:
		return &engine.StartError{Status: 126, Err: fmt.Errorf("cannot run %s: %w", path, fs.ErrPermission)}
	}
	return nil
}

// login is who runs a command in a container.
type login struct {
	uid, gid int
	groups   []int
	home     string
}

func (i *login) become() error {
	if err := syscall.Setgroups(i.groups); err != nil && len(i.groups) > 0 {
		return fmt.Errorf("taking the user's groups: %w", err)
	}
	if err := syscall.Setgid(i.gid); err != nil {
		return fmt.Errorf("becoming group %d: %w", i.gid, err)
	}
	if err := syscall.Setuid(i.uid); err != nil {
		return fmt.Errorf("becoming user %d: %w", i.uid, err)
	}
	return nil
}

// findUser finds USER[:GROUP] in the container's own /etc/passwd and /etc/group.
func findUser(text string) (*login, error) {
	name, group, withGroup := strings.Cut(text, ":")
	if name == "" {
		name = "0"
	}
	who := &login{home: "/"}
	found := false
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		who.uid, found = int(n), true
	}
	user := name
	err := eachEntry("/etc/passwd", 7, func(f []string) {
		uid, uidErr := strconv.ParseUint(f[2], 10, 31)
		gid, gidErr := strconv.ParseUint(f[3], 10, 31)
		if uidErr != nil || gidErr != nil || f[0] != name && strconv.Itoa(int(uid)) != name || who.home != "/" {
			return
		}
		who.uid, who.gid, who.home, user, found = int(uid), int(gid), f[5], f[0], true
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the container has no user %q", name)
	}
	if who.uid == 0 && who.home == "/" {
		who.home = "/root"
	}
	return who, who.findGroups(user, group, withGroup)
}

// findGroups finds the group that was asked for, else those that the user is in.
func (i *login) findGroups(user, group string, asked bool) error {
	found := !asked
	if n, err := strconv.ParseUint(group, 10, 31); err == nil && asked {
		i.gid, found = int(n), true
	}
	err := eachEntry("/etc/group", 4, func(f []string) {
		gid, err := strconv.ParseUint(f[2], 10, 31)
		switch {
		case err != nil:
		case asked && f[0] == group:
			i.gid, found = int(gid), true
		case !asked && slices.Contains(strings.Split(f[3], ","), user):
			i.groups = append(i.groups, int(gid))
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("the container has no group %q", group)
	}
	return err
}

// eachEntry reads a file like /etc/passwd; one that is not there has no entry.
func eachEntry(path string, fields int, visit func([]string)) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 4<<20))
	for lines.Scan() {
		if entry := strings.Split(lines.Text(), ":"); len(entry) >= fields {
			visit(entry)
		}
	}
	return lines.Err()
}
