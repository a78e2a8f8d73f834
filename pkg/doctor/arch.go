package doctor

import (
	"strings"

	"github.com/dibber-project/dibber/pkg/binfmt"
)

// arches tells for which architectures images can be built here. Those of the
// processor always can.
func (c *checkup) arches() {
	const name = "arches"
	s := binfmt.Machine{Root: c.m.Root, Path: c.m.Path}.Survey()
	parts := []string{strings.Join(s.Native, ", ")}
	if len(s.Handled) > 0 {
		parts = append(parts, strings.Join(s.Handled, ", ")+" through this machine's binfmt_misc")
	}
	if len(s.Emulated) > 0 {
		parts = append(parts, strings.Join(s.Emulated, ", ")+" through QEMU, in the build's own namespace")
	}
	if len(parts) > 1 {
		c.archTest("images for " + strings.Join(parts, "; "))
		return
	}
	mend := install(binfmt.Packages)
	if s.Old {
		mend = install(binfmt.PackagesForAll)
	}
	c.warn(name, "images for "+parts[0]+" only: no emulator of another architecture is there", mend)
}

// archTest looks for what mmdebstrap asks before it makes a tree of another
// architecture. debootstrap does without.
func (c *checkup) archTest(detail string) {
	const name = "arches"
	if c.m.look("mmdebstrap") != "" && c.m.look("arch-test") == "" {
		c.warn(name, detail+"; but mmdebstrap makes no tree of another without arch-test", install("arch-test"))
		return
	}
	c.ok(name, detail)
}
