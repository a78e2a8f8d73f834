package definition

import (
	"fmt"
	"strings"
)

// Kind is what a property holds.
type Kind int

// The kinds of property.
const (
	Text   Kind = iota
	Flag        // yes or no
	Count       // a number from 0 to 2: an option that is given so often
	Number      // a whole number from 1 on
	List        // of texts
	Map         // of texts
)

// maxCount is the most that a Count can be.
const maxCount = 2

// Property is a key of an image definition.
type Property struct {
	Key     string
	Kind    Kind
	Option  string   // of the command line; "" if there is none
	Choices []string // what a Text, or each text of a List, may be; nil: anything
	Help    string   // one sentence or more for the user
}

// Keys that say more than an option does.
const (
	keyName        = "imagename"
	keyEnvironment = "environment"
	keyRamdisk     = "ramdisk"
	keyClear       = "clear"
	keyElements    = "elements"
)

// Properties lists all keys, in the order in which they become arguments.
func Properties() []Property {
	return []Property{
		{Key: keyName, Kind: Text, Option: "-o",
			Help: "Name of the outputs without extension, perhaps with a path."},
		{Key: "arch", Kind: Text, Option: "-a",
			Choices: []string{"aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el", "ppc64le", "s390x", "x86_64"},
			Help:    "Architecture of the image."},
		{Key: "types", Kind: List, Option: "-t", Choices: Types(),
			Help: "Outputs to make."},
		{Key: keyEnvironment, Kind: Map,
			Help: "Variables that are exported while the image is built. Numbers and yes or no need quotes."},
		{Key: keyRamdisk, Kind: Flag,
			Help: "Build a kernel and a ramdisk, with ramdisk-image-create, and no disk."},
		{Key: "debug-trace", Kind: Count, Option: "-x",
			Help: "How much hooks trace; 0 is nothing."},
		{Key: "uncompressed", Kind: Flag, Option: "-u",
			Help: "Leave a qcow2 uncompressed: larger, and sooner done."},
		{Key: keyClear, Kind: Flag, Option: "-c",
			Help: "Keep the variables of the caller from the build; those of environment are kept."},
		{Key: "logfile", Kind: Text, Option: "--logfile",
			Help: "File that takes what the build prints."},
		{Key: "checksum", Kind: Flag, Option: "--checksum",
			Help: "Write files with MD5 and SHA256 sums beside the outputs."},
		{Key: "image-size", Kind: Number, Option: "--image-size",
			Help: "Size of the disk in GiB; computed by default."},
		{Key: "image-extra-size", Kind: Number, Option: "--image-extra-size",
			Help: "MiB that the disk has over its content, in place of the usual share."},
		{Key: "image-cache", Kind: Text, Option: "--image-cache",
			Help: "Directory of downloads, ~/.cache/image-create by default."},
		{Key: "max-online-resize", Kind: Number, Option: "--max-online-resize",
			Help: "Blocks that the root file system can grow to later. Every one takes a little room from the start."},
		{Key: "min-tmpfs", Kind: Number, Option: "--min-tmpfs",
			Help: "GiB of memory that a build in memory would need."},
		{Key: "mkfs-journal-size", Kind: Number, Option: "--mkfs-journal-size",
			Help: "Size of the journal of ext4 in MiB; 64 by default."},
		{Key: "mkfs-options", Kind: Text, Option: "--mkfs-options",
			Help: "Options for the root file system, as mkfs takes them."},
		{Key: "no-tmpfs", Kind: Flag, Option: "--no-tmpfs",
			Help: "Do not build in memory."},
		{Key: "offline", Kind: Flag, Option: "--offline",
			Help: "Use downloads of earlier builds only."},
		{Key: "qemu-img-options", Kind: Map, Option: "--qemu-img-options",
			Help: "Options of the image format, as qemu-img convert -o takes them."},
		{Key: "root-label", Kind: Text, Option: "--root-label",
			Help: "Label of the root file system, cloudimg-rootfs by default."},
		{Key: "ramdisk-element", Kind: Text, Option: "--ramdisk-element",
			Help: "Element that makes ramdisks: ramdisk by default, dracut-ramdisk where there is no busybox."},
		{Key: "install-type", Kind: Text, Option: "--install-type", Choices: []string{"source", "package"},
			Help: "How elements install what they could install both ways."},
		{Key: "docker-target", Kind: Text, Option: "--docker-target",
			Help: "Name and tag of the image of type docker; by default the imagename."},
		{Key: "packages", Kind: List, Option: "-p",
			Help: "More packages to install, after the phase install."},
		{Key: "skip-base", Kind: Flag, Option: "-n",
			Help: "Leave the element base out."},
		{Key: keyElements, Kind: List,
			Help: "Elements that the image is built from."},
	}
}

// Types lists the outputs that a definition may ask for: those of
// diskimage-builder, then those that only dibber makes.
func Types() []string {
	return []string{
		"qcow2", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "raw",
		"containerdisk", "docker-archive", "oci", "oci-archive", "raw.gz", "raw.zst", "vdi", "vhdx", "vmdk", "vpc",
	}
}

// Allowed says what the property may hold, in words.
func (p Property) Allowed() string {
	choices := strings.Join(p.Choices, ", ")
	switch p.Kind {
	case Flag:
		return "yes or no"
	case Count:
		return fmt.Sprintf("a whole number from 0 to %d", maxCount)
	case Number:
		return "a whole number from 1 on"
	case List:
		if choices != "" {
			return "a list of " + choices
		}
		return "a list of texts"
	case Map:
		return "a map of texts"
	}
	if choices != "" {
		return "one of " + choices
	}
	return "text"
}

// args gives the arguments of the command line that a value becomes.
func (p Property) args(v value) []string {
	switch {
	case p.Key == keyElements:
		return v.list
	case p.Option == "":
		return nil
	}
	text := v.text
	switch p.Kind {
	case Flag:
		if v.on {
			return []string{p.Option}
		}
		return nil
	case Count:
		var args []string
		for range v.count {
			args = append(args, p.Option)
		}
		return args
	case List:
		text = strings.Join(v.list, ",")
	case Map:
		var pairs []string
		for _, pair := range v.pairs {
			pairs = append(pairs, pair.Name+"="+pair.Value)
		}
		text = strings.Join(pairs, ",")
	}
	if text == "" {
		return nil
	}
	return []string{p.Option, text}
}
