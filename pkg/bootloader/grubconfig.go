package bootloader

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

const (
	grubDefaults = "/etc/default/grub"
	// Debian's and Ubuntu's grub-mkconfig reads what lies here as well.
	grubDefaultsMore = "/etc/default/grub.d/90-disk.cfg"
	kernelCmdline    = "/etc/kernel/cmdline"
)

// configure writes what GRUB reads at boot, and what the running system's own
// update-grub or grub2-mkconfig comes to the same result with.
func (g *grub) configure() {
	if g.bls {
		g.addEntries()
	}
	if g.has(path.Join(g.dir, "grub.cfg")) {
		g.note("%s is made anew", path.Join(g.dir, "grub.cfg"))
	}
	g.add.text(path.Join(g.dir, "grub.cfg"), g.config())
	g.addDefaults()
	g.presetDebconf()
}

// config is the text of grub.cfg.
func (g *grub) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made with the disk. update-grub, or grub2-mkconfig -o %s, replaces it.\n", path.Join(g.dir, "grub.cfg"))
	fmt.Fprintf(&b, "set default=0\nset timeout=%d\n", g.req.Timeout)
	if serial := g.serialCommand(); serial != "" {
		// Firmware of the UEFI kind has its own console on the serial line.
		fmt.Fprintf(&b, "if [ \"$grub_platform\" = pc ]; then\n\t%s\n\tterminal_input serial console\n\tterminal_output serial console\nfi\n", serial)
	}
	fmt.Fprintf(&b, "search --no-floppy --fs-uuid --set=root %s\n", g.fs.UUID)
	if g.bls {
		boot, _ := path.Split(g.prefix)
		fmt.Fprintf(&b, "set boot=$root\nset blsdir=%s\ninsmod blscfg\nblscfg\n", shellQuote(path.Join(boot, "loader/entries")))
		return b.String()
	}
	var args []string
	for _, w := range words(g.files.CommandLine) {
		args = append(args, shellQuote(w))
	}
	for n, e := range g.menu {
		title := g.sys.pretty
		if n > 0 {
			title += ", Linux " + e.version
		}
		fmt.Fprintf(&b, "menuentry %s --class %s --class gnu-linux --class os {\n", quoteAlways(title), g.sys.id)
		fmt.Fprintf(&b, "\tsearch --no-floppy --fs-uuid --set=root %s\n", g.fs.UUID)
		fmt.Fprintf(&b, "\tlinux %s %s\n", shellQuote(e.linux), strings.Join(args, " "))
		if e.initrd != "" {
			fmt.Fprintf(&b, "\tinitrd %s\n", shellQuote(e.initrd))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// quoteAlways is for titles, which read better in quotes.
func quoteAlways(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

var serialLine = regexp.MustCompile(`^ttyS([0-3])(?:,([0-9]{2,7}))?`)

// serialCommand sets GRUB's serial line up as the kernel's; "" when that is no
// line that a BIOS machine has.
func (g *grub) serialCommand() string {
	found := serialLine.FindStringSubmatch(g.serial())
	if found == nil {
		return ""
	}
	return "serial --unit=" + found[1] + " --speed=" + first(found[2], "9600")
}

// grubDefaults are the kernel's arguments that the tree's own configuration of
// GRUB has for every entry and for the usual ones.
func (i *installer) grubDefaults() []string {
	if i.files.Loader != GRUB {
		return nil
	}
	text, err := i.tree.ReadFile(grubDefaults, maxText)
	if err != nil {
		return nil
	}
	fields := assignments(string(text))
	return append(words(oneLine(fields["GRUB_CMDLINE_LINUX"])), words(oneLine(fields["GRUB_CMDLINE_LINUX_DEFAULT"]))...)
}

// addDefaults tells later runs of grub-mkconfig what grub.cfg has now. A file
// of the tree's stays as it is; where GRUB reads more files, one of them adds
// to it.
func (g *grub) addDefaults() {
	text, err := g.tree.ReadFile(grubDefaults, maxText)
	args := joinWords(g.own)
	switch {
	case err != nil || len(assignments(string(text))) == 0:
		g.add.text(grubDefaults, g.defaultsFile(args))
	case args == "":
	case g.sys.family("debian", "ubuntu") != "":
		g.add.text(grubDefaultsMore, fmt.Sprintf("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX \"%s\n", quoteAlways(args)))
	default:
		g.note("%s is the tree's own: grub-mkconfig will leave out %s", grubDefaults, args)
	}
}

func (g *grub) defaultsFile(args string) string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, shellQuote(value)) }
	b.WriteString("# Read by update-grub and grub-mkconfig.\n")
	set("GRUB_DEFAULT", "0")
	set("GRUB_TIMEOUT", fmt.Sprint(g.req.Timeout))
	// grub-mkconfig appends GNU/Linux. The first word also names the directory in EFI.
	set("GRUB_DISTRIBUTOR", strings.TrimSuffix(g.sys.name, " GNU/Linux"))
	set("GRUB_CMDLINE_LINUX", args)
	if serial := g.serialCommand(); serial != "" {
		set("GRUB_TERMINAL", "serial console")
		set("GRUB_SERIAL_COMMAND", serial)
	}
	if g.bls {
		set("GRUB_ENABLE_BLSCFG", "true")
	}
	return b.String()
}

// readsEntries tells whether the GRUB that was put in place, and the tree's
// kernel packages, keep the menu in files of the Boot Loader Specification, as
// Fedora's and Red Hat's do.
func (g *grub) readsEntries(used ...*modules) bool {
	if g.sys.family("fedora", "rhel", "centos") == "" {
		return false
	}
	for _, m := range used {
		if m != nil && m.file("blscfg.mod") == nil {
			g.warn("GRUB for %s does not read Fedora's boot entries: run grub2-mkconfig after each kernel upgrade", m.platform)
			return false
		}
	}
	return true
}

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// addEntries writes an entry for each kernel, named as the tree's kernel-install
// will name others.
func (g *grub) addEntries() {
	token := g.sys.id
	if id, err := g.tree.ReadFile("/etc/machine-id", maxText); err == nil && machineID.MatchString(strings.TrimSpace(string(id))) {
		token = strings.TrimSpace(string(id))
	}
	dir := path.Join(path.Dir(g.dir), "loader/entries")
	for _, e := range g.menu {
		text := fmt.Sprintf("title %s (%s)\nversion %s\nlinux %s\n", g.sys.pretty, e.version, e.version, e.linux)
		if e.initrd != "" {
			text += "initrd " + e.initrd + "\n"
		}
		text += "options " + g.files.CommandLine + "\ngrub_users $grub_users\ngrub_arg --unrestricted\ngrub_class " + g.sys.id + "\n"
		g.add.text(path.Join(dir, token+"-"+e.version+".conf"), text)
	}
	g.add.text(kernelCmdline, g.files.CommandLine+"\n")
}
