package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Platform is what an image is made for; linux, whatever it is. The zero value
// leaves the choice to who fetches images.
type Platform struct {
	Arch, Variant string
}

// Config is what an image says of the programs that run in it.
type Config struct {
	User         string
	WorkingDir   string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      []string
	ExposedPorts []string
	StopSignal   string
	Labels       map[string]string
}

// Image is one image of the store.
type Image struct {
	ID           string   // 64 hexadecimal digits
	Names        []string // in full, such as docker.io/library/debian:12
	Digests      []string // NAME@DIGEST
	Digest       string
	Created      time.Time
	Size         int64
	Architecture string
	Variant      string
	Author       string
	Layers       []string // diff IDs, lowest first
	Config       Config
}

// Volume is a directory or file of the machine that a container sees, or a new
// tmpfs when Source is empty.
type Volume struct {
	Source, Target string
	ReadOnly       bool
	Make           bool // a directory at Source if there is nothing
}

// Process is a command in a container.
type Process struct {
	Args     []string
	Env      []string // complete, KEY=VALUE
	Dir      string   // "" is /
	User     string   // USER[:GROUP], names or numbers; "" is root
	Hostname string   // "" is the beginning of the container's ID
	Hosts    []string // NAME:ADDRESS, for /etc/hosts
	DNS      []string // addresses, in place of the machine's /etc/resolv.conf
	Volumes  []Volume
}

// Create is a container to make.
type Create struct {
	Name      string // "" lets the store choose
	Image     string // ID
	ImageName string // as the user wrote it
	Labels    map[string]string
	Remove    bool // once it has ended
	Process   Process
}

// Status is what becomes of a container.
type Status string

// What can be said of a container.
const (
	Created Status = "created"
	Running Status = "running"
	Exited  Status = "exited"
)

// Container is one container of the store.
type Container struct {
	ID, Name  string
	Image     string // ID
	ImageName string
	Created   time.Time
	Labels    map[string]string
	Remove    bool // once it has ended
	Process   Process

	Status   Status
	ExitCode int
	PID      int    // while it runs
	Error    string // why it could not be started
	Started  time.Time
	Finished time.Time
}

// Streams are those of a command. In is nil for one that is given nothing.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Build is an image to build.
type Build struct {
	Files       []string // Containerfiles, paths
	Context     string   // directory
	Names       []string // of the result
	Args        map[string]string
	Platform    Platform
	From        string // in place of the image of the first FROM
	Target      string
	NoCache     bool
	Layers      bool
	Squash      bool
	Docker      bool // in docker's format, not OCI's
	Quiet       bool
	IgnoreFile  string
	Labels      []string
	Annotations []string
	Env         []string
	UnsetEnv    []string
	Hosts       []string
	DNS         []string
	Secrets     []string // id=NAME,src=FILE
	Volumes     []string // SOURCE:TARGET[:OPTIONS]
	Contexts    map[string]string
	Timestamp   *time.Time
}

// Commit is an image to make of a container.
type Commit struct {
	Container string
	Name      string
	Author    string
	Changes   []string // instructions of a Containerfile
	Docker    bool
	Squash    bool
}

// Import is an image to make of a tar.
type Import struct {
	Name    string
	Message string
	Changes []string
	Arch    string
}

// Copy is what cp does. A place without a container is the machine's; the path
// "-" there is the command's own stream, as a tar.
type Copy struct {
	From, To Place
	Archive  bool // keep owners
	Follow   bool // a symbolic link at From.Path
}

// Place is a path in a container, or on the machine.
type Place struct {
	Container string // ID
	Path      string
}

// Removed tells what became of an image.
type Removed struct {
	Untagged []string
	Deleted  string // the image's ID, if it is gone
}

// ErrUnknown is what an UnknownError is.
var ErrUnknown = errors.New("no such image or container")

// UnknownError says that nothing has a name.
type UnknownError struct{ Kind, Name string }

func (e *UnknownError) Error() string { return fmt.Sprintf("no such %s: %s", e.Kind, e.Name) }

// Is makes it an ErrUnknown.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Images keeps images. Names are as users write them, IDs and their beginnings
// among them.
type Images interface {
	Images(ctx context.Context) ([]Image, error)
	Image(ctx context.Context, name string, p Platform) (Image, error)
	Pull(ctx context.Context, name string, p Platform) (id string, err error)
	Build(ctx context.Context, b Build, s Streams) (id string, err error)
	Commit(ctx context.Context, c Commit) (id string, err error)
	Import(ctx context.Context, from io.Reader, i Import) (id string, err error)
	Load(ctx context.Context, from io.Reader) (names []string, err error)
	Save(ctx context.Context, names []string, format string, to io.Writer) error
	Tag(ctx context.Context, image, name string) error
	RemoveImage(ctx context.Context, image string, force bool) (Removed, error)
}

// Containers keeps containers and runs commands in them.
type Containers interface {
	Containers() ([]Container, error)
	Container(name string) (Container, error)
	Create(ctx context.Context, c Create) (id string, err error)
	// Start runs the container's command and waits for its end.
	Start(ctx context.Context, id string, s Streams) (status int, err error)
	// Detach does so in a process of its own. It returns when the command has
	// ended, or has run for a moment.
	Detach(ctx context.Context, id string) error
	// Exec runs another command beside the container's own.
	Exec(ctx context.Context, id string, p Process, s Streams) (status int, err error)
	Logs(id string, to io.Writer) error
	Kill(ctx context.Context, id string, signal int) error
	Remove(ctx context.Context, id string) error
	Export(ctx context.Context, id string, to io.Writer) error
	Copy(ctx context.Context, c Copy, s Streams) error
}

// StartError says that a command could not be started at all.
type StartError struct {
	Status int // 126, 127, or 125 when it is not the command's fault
	Err    error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }
