// Package doctor tells what a machine lacks for building images, and what mends
// it. It changes nothing, prints nothing and does not know how a build is made:
// the trial of a container is handed to it.
//
// What it reads of the machine it reads below one root directory, so that a
// test can plant any machine.
package doctor

import (
	"context"

	"github.com/dibber-project/dibber/pkg/vm"
)

// State tells how serious a finding is.
type State string

// The states of a Finding.
const (
	OK   State = "ok"   // as it should be
	Warn State = "warn" // builds work, but slower or not all of them
	Fail State = "fail" // no build works
)

// Finding is the answer to one question about the machine.
type Finding struct {
	Name   string `json:"name"` // one word, the same on every machine
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // what to type, or to write into a pod; empty if ok, or if nothing is known
}

// Machine is what is examined. A function that is nil is not asked, and what it
// would tell is left out.
type Machine struct {
	Root    string // where /etc, /proc and programs are; "" is /
	UID     int    // of the caller
	User    string // the caller's name; "" when the uid has none
	Path    string // where programs are looked for, as PATH, besides the system's directories
	Program string // the binary that builds; an AppArmor profile names it

	InPod    bool // Kubernetes has set its variables
	Dirs     []Dir
	Elements []string // the chosen elements, dependencies included; none: the usual ones

	Space     func(dir string) (Space, error)      // nil asks the kernel
	Try       func(context.Context) Trial          // makes a container and runs a program in it
	Kernel    func(context.Context) Kernel         // tries what the kernel grants
	GetSubIDs func(args ...string) (string, error) // runs getsubids, gives what it prints
	Booting   func() []error                       // what booting an image lacks
	KVM       func(context.Context) vm.Probe
}

// Trial is what came of making a container, and how a child process says so.
type Trial struct {
	Driver  string `json:"driver,omitempty"`  // of the container store: overlay, or vfs where overlay is refused
	Refused string `json:"refused,omitempty"` // what refused overlay
	Problem string `json:"problem,omitempty"` // "" if it worked
	Mend    string `json:"mend,omitempty"`
}

func (t *Trial) worked() bool { return t != nil && t.Problem == "" }

// Check examines the machine. Findings come in the order in which they are best
// mended.
func Check(ctx context.Context, m Machine) []Finding {
	c := begin(ctx, m)
	c.where()
	c.ids()
	c.namespaces()
	c.dirs()
	c.container()
	c.tools()
	c.arches()
	c.booting(ctx)
	return c.found
}

// begin makes the trials that the findings rest on.
func begin(ctx context.Context, m Machine) *checkup {
	if m.Space == nil {
		m.Space = kernelSpace
	}
	c := &checkup{m: m, may: m.readPrivileges()}
	if m.Try != nil {
		t := m.Try(ctx)
		c.trial = &t
	}
	if m.Kernel != nil {
		k := m.Kernel(ctx)
		c.kernel = &k
	}
	c.place = c.locate()
	return c
}

// Failed names the findings that keep the machine from building.
func Failed(found []Finding) []string {
	var names []string
	for _, f := range found {
		if f.State == Fail {
			names = append(names, f.Name)
		}
	}
	return names
}

// checkup is the state of one examination.
type checkup struct {
	m      Machine
	may    privileges
	trial  *Trial  // nil: none was made
	kernel *Kernel // nil: it was not asked
	place  Place
	found  []Finding
}

func (c *checkup) ok(name, detail string) { c.add(name, OK, detail, "") }

func (c *checkup) warn(name, detail, mend string) { c.add(name, Warn, detail, mend) }

func (c *checkup) fail(name, detail, mend string) { c.add(name, Fail, detail, mend) }

func (c *checkup) add(name string, s State, detail, mend string) {
	c.found = append(c.found, Finding{Name: name, State: s, Detail: detail, Mend: mend})
}
