//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// normal writes what was found as the command getopt does, but for the quotes.
func normal(options []option, operands []string) string {
	var b strings.Builder
	for _, o := range options {
		fmt.Fprintf(&b, " %s %s", o.name, o.value)
	}
	fmt.Fprintf(&b, " -- %s", strings.Join(operands, " "))
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestLongOptionsMayBeCutShort(t *testing.T) {
	for given, want := range map[string]string{
		"--image-s 3 vm":           "--image-size 3 -- vm",
		"--image-s=3 vm":           "--image-size 3 -- vm",
		"--no vm":                  "--no-tmpfs -- vm", // -n has no long name there
		"--n vm":                   "--no-tmpfs -- vm",
		"--che --off --ins source": "--checksum --offline --install-type source --",
		"--hel --ver":              "--help --version --",
		"--mkfs -D vm":             "--mkfs-options -D -- vm", // what was clear remains so
		"--mkfs-j 4 --image-e=5":   "--mkfs-journal-size 4 --image-extra-size 5 --",
		"--unsafe vm":              "--unsafe-host -- vm",
		"--mkfs-o --offl vm":       "--mkfs-options --offl -- vm", // a value, whatever it looks like
		"-o --offl vm":             "-o --offl -- vm",
		"-xuo --offl vm":           "-x -u -o --offl -- vm",
		"-ofoo --offl vm":          "-o foo --offline -- vm",
		"-xu --offl vm":            "-x -u --offline -- vm",
		"vm --offl -- --offl":      "--offline -- vm --offl",
		"- --offl":                 "--offline -- -",
	} {
		options, operands, faults := dibOptions().parse(strings.Fields(given))
		if got := normal(options, operands); faults != nil || got != want {
			t.Errorf("%s: %q, %v", given, got, faults)
		}
	}
	for given, want := range map[string]string{
		"--image- 3":             "option '--image-' is ambiguous; possibilities: '--image-size' '--image-cache'",
		"--m=4":                  "option '--m=4' is ambiguous; possibilities: '--min-tmpfs' '--max-online-resize' '--mkfs-options'",
		"--nonsense --also=3 -z": "unrecognized option '--nonsense'\nunrecognized option '--also=3'\ninvalid option -- 'z'",
		"--arch amd64":           "unrecognized option '--arch'", // -a has no long name there
		"--root-label":           "option '--root-label' requires an argument",
		"--offl=1":               "option '--offline' doesn't allow an argument",
		"-xo":                    "option requires an argument -- 'o'",
	} {
		if _, _, faults := dibOptions().parse(strings.Fields(given)); fmt.Sprint(errors.Join(faults...)) != want {
			t.Errorf("%s: %v", given, faults)
		}
	}
	posix := dibOptions()
	posix.posix = true
	options, operands, _ := posix.parse([]string{"-x", "vm", "-u"})
	if got := normal(options, operands); got != "-x -- vm -u" {
		t.Error(got)
	}
}

// The getopt of the machine finds the same in any command line.
func TestTheMachinesGetoptAgrees(t *testing.T) {
	program, err := exec.LookPath("getopt")
	if err != nil {
		t.Skip("getopt is not installed")
	}
	g := dibOptions()
	g.more = nil
	words := []string{"vm", "-", "--", "-x", "-xu", "-xo", "-o", "-oname", "-t=raw", "-z", "-x-", "-c:", "--=a", "--o", "--o=1", "--n", "--image-size", "--image-size=3", "--image-s", "--i=", "--help", "--version=", "--m", "--mkfs", "--none", "--none=4", "a=b", "--r", "--logfile=", "--docker-target"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		var args []string
		for range random.IntN(5) {
			args = append(args, words[random.IntN(len(words))])
		}
		g.posix = random.IntN(4) == 0
		cmd := exec.Command(program, append([]string{"-o", g.short, "-l", strings.Join(g.long, ","), "-n", "N", "--"}, args...)...)
		if g.posix {
			cmd.Env = append(os.Environ(), "POSIXLY_CORRECT=1")
		}
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		options, operands, faults := g.parse(args)
		var ours strings.Builder
		for _, fault := range faults {
			fmt.Fprintln(&ours, "N:", fault)
		}
		if ours.String() != said.String() || (err != nil) != (faults != nil) {
			t.Errorf("%q:\n%swhere getopt says\n%s%v", args, &ours, &said, err)
		}
		if theirs := strings.Join(strings.Fields(strings.ReplaceAll(string(out), "'", "")), " "); faults == nil && theirs != normal(options, operands) {
			t.Errorf("%q: %s, where getopt finds %s", args, normal(options, operands), theirs)
		}
	}
}
