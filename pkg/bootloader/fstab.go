package bootloader

import "strings"

const fstabFile = "/etc/fstab"

// fstab adds /etc/fstab if the tree has none that says anything. It tells
// whether the kernel must mount the root file system for writing, because
// nothing in the tree will do so later.
func (i *installer) fstab() (rootRW bool) {
	old, err := i.tree.ReadFile(fstabFile, maxText)
	text := string(old)
	if err != nil || len(fstabPoints(text)) == 0 {
		text = i.disk.plan.Fstab()
		if text != "" {
			i.add.text(fstabFile, text)
		}
	} else {
		i.note("/etc/fstab is the tree's own")
	}
	for _, point := range fstabPoints(text) {
		if point == "/" {
			return false
		}
	}
	return true
}

// fstabPoints lists the mount points in the text of /etc/fstab.
func fstabPoints(text string) []string {
	var points []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 && !strings.HasPrefix(f[0], "#") {
			points = append(points, f[1])
		}
	}
	return points
}
