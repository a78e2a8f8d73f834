package bootloader

import (
	"slices"
	"strings"
)

const debconfFile = "/var/cache/debconf/config.dat"

// answer is one to a question of a Debian package.
type answer struct{ name, value, owner string }

// presetDebconf answers what upgrades of Debian's GRUB packages would ask.
// Which disk the image is on is not known, and a wrong answer leaves the
// upgrade unfinished: so GRUB for a BIOS is to install itself nowhere, and what
// the disk boots with stays as it is. For UEFI the disk is the ESP: the file
// that firmware starts unasked is to be renewed with the others.
func (g *grub) presetDebconf() {
	var answers []answer
	if g.has("/var/lib/dpkg/info/grub-pc.postinst") {
		answers = append(answers,
			answer{"grub-pc/install_devices", "", "grub-pc"},
			answer{"grub-pc/install_devices_empty", "true", "grub-pc"})
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if owner := "grub-efi-" + arch; g.has("/var/lib/dpkg/info/" + owner + ".postinst") {
			answers = append(answers, answer{"grub2/force_efi_extra_removable", "true", owner})
		}
	}
	if len(answers) == 0 {
		return
	}
	const limit = 64 << 20
	old, err := g.tree.ReadFile(debconfFile, limit)
	if err != nil {
		old = nil
	}
	g.add.text(debconfFile, presetAnswers(string(old), answers))
}

// presetAnswers sets answers in the text of debconf's database: stanzas of
// lines "Field: value" with an empty line after each.
func presetAnswers(text string, answers []answer) string {
	var stanzas []string
	for s := range strings.SplitSeq(text, "\n\n") {
		if s = strings.Trim(s, "\n"); s != "" {
			stanzas = append(stanzas, s)
		}
	}
	for _, a := range answers {
		at := slices.IndexFunc(stanzas, func(s string) bool { return field(s, "Name") == a.name })
		if at < 0 {
			stanzas = append(stanzas, "Name: "+a.name+"\nTemplate: "+a.name+"\nOwners: "+a.owner)
			at = len(stanzas) - 1
		}
		stanzas[at] = setField(stanzas[at], "Value", a.value)
		flags := strings.Fields(field(stanzas[at], "Flags"))
		if !slices.Contains(flags, "seen") {
			stanzas[at] = setField(stanzas[at], "Flags", strings.Join(append(flags, "seen"), " "))
		}
	}
	return strings.Join(stanzas, "\n\n") + "\n\n"
}

func field(stanza, name string) string {
	for line := range strings.SplitSeq(stanza, "\n") {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// setField replaces a field or puts it at the end, before the variables of the
// question, which are lines that begin with a blank.
func setField(stanza, name, value string) string {
	lines := strings.Split(stanza, "\n")
	line := name + ": " + value
	for i := range lines {
		if strings.HasPrefix(lines[i], name+":") {
			lines[i] = line
			return strings.Join(lines, "\n")
		}
	}
	end := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Variables:") || strings.HasPrefix(l, " ") })
	if end < 0 {
		end = len(lines)
	}
	return strings.Join(slices.Insert(lines, end, line), "\n")
}
