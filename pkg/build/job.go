//go:build containers_image_openpgp

package build

import (
	"io"
	"os"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/output"
)

// Job is what to build. The zero value of a field is the usual choice.
type Job struct {
	ID   string           // unique among the builds of this user; names temporary places
	Time time.Time        // when the image is made, for everything that records it
	Now  func() time.Time // what events are dated and measured by
	Seed [16]byte         // UUIDs and disk ids come from it: the same seed, the same ids

	Environ  []string // the caller's environment
	Caller   environ.Caller
	Dir      string // the caller's working directory, and this process's
	StateDir string // working containers live here
	CacheDir string // base images and unpacked elements live here
	Program  string // path of this binary, for hooks that call it
	Log      io.Writer
	Stdin    *os.File // of the caller, which hooks inherit; nil: empty
	Terminal *os.File // where a shell at a break point prints, if it is one and Stdin too

	Name         string   // of the outputs without extension, a path
	Types        []string // outputs wanted, at least one; see Types
	Elements     []string // as the user listed them, base and block device included
	ElementsPath []string // folders, the first wins
	From         string   // base image; "": an element makes the root file system
	Ramdisk      bool     // hooks write a kernel and a ramdisk beside Name; no disk is made
	Arch         string   // as DIB writes it: amd64, arm64, ...
	Packages     []string

	ImageSize       int64 // bytes; 0: computed
	ExtraSize       int64 // bytes over the content, instead of the usual share
	JournalSize     int64 // bytes of ext4's journal
	MaxOnlineResize int64 // as mke2fs -E resize= takes it; 0: not given
	MkfsOptions     string
	FSType          string // of the root file system where the layout leaves it open
	RootLabel       string
	QemuImgOptions  string // for qcow2
	Uncompressed    bool
	GzipCommand     []string // DIB_GZIP_BIN; nil: none is needed
	ACIManifest     []byte   // of an App Container Image
	ImageTag        string   // of an image in an archive; "": after Name
	BlockDevice     string   // DIB_BLOCK_DEVICE_CONFIG: YAML or file://PATH
	BlockSize       int64    // DIB_BLOCK_SIZE, bytes; 0: as configured

	Offline   bool
	Insecure  bool // talk to registries by http or with any certificate
	Checksums []artifact.Kind
	KeepOld   bool // rename an older output rather than replace it
	Squash    bool // one layer, the base's included
	Gzip      bool // layers in gzip instead of zstd

	KeepOnFailure bool // keep the working container when a hook fails
	UnsafeHost    bool // let outside hooks write wherever the caller may

	ImageCache      string   // DIB_IMAGE_CACHE
	TempDir         string   // TMP_DIR; "": with the containers
	InstallType     string   // DIB_DEFAULT_INSTALLTYPE; "": source
	Trace           int      // DIB_DEBUG_TRACE
	ShowUsage       bool     // tell what is large in the root file system
	ShowAllUsage    bool     // tell the size of everything in it
	SkipBase        bool     // SKIP_BASE, which Elements heeds already
	NoTmpfs         bool     // DIB_NO_TMPFS: only told to hooks
	MinTmpfs        int      // DIB_MIN_TMPFS in GiB, likewise; 0: not given
	DefaultElements string   // folder of the built-in elements
	Args            []string // as the user wrote them, for DIB_ARGS
}

// Base is the image that a build started from.
type Base struct {
	Name   string `json:"name"`   // as the user wrote it
	Ref    string `json:"ref"`    // in full
	Digest string `json:"digest"` // of the manifest that was used
}

// Result is what came of a Job.
type Result struct {
	Outputs  []output.Made `json:"outputs"`
	Base     *Base         `json:"base,omitempty"`
	Elements []string      `json:"elements"`
	Took     time.Duration `json:"took_ns"`
}

// Kind tells what an Event is about.
type Kind string

// The kinds of Event.
const (
	PhaseStarted Kind = "phase-start"
	PhaseEnded   Kind = "phase-end"
	HookStarted  Kind = "hook-start"
	HookEnded    Kind = "hook-end"
	StepStarted  Kind = "step-start" // Step says what
	StepEnded    Kind = "step-end"
	Progress     Kind = "progress" // Done of Total bytes of Step
	Warning      Kind = "warning"  // Message
	Note         Kind = "note"     // Message
)

// Event is one thing that the user may want to know while a build goes on.
type Event struct {
	Kind    Kind          `json:"event"`
	Time    time.Time     `json:"time"`
	Phase   string        `json:"phase,omitempty"`
	Hook    string        `json:"hook,omitempty"`
	Step    string        `json:"step,omitempty"`
	Message string        `json:"message,omitempty"`
	Status  int           `json:"status,omitempty"`
	Took    time.Duration `json:"took_ns,omitempty"`
	Done    int64         `json:"done,omitempty"`
	Total   int64         `json:"total,omitempty"`
}

// identity gives UUIDs that depend on the job's seed and on what they are for.
func (j *Job) identity() func(purpose string) [16]byte {
	return func(purpose string) [16]byte { return layout.NameUUID(j.Seed, purpose) }
}
