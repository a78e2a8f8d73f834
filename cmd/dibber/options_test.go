//go:build containers_image_openpgp

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// dibFlags are those of disk-image-create.
func dibFlags(o *options) *pflag.FlagSet {
	f := pflag.NewFlagSet("disk-image-create", pflag.ContinueOnError)
	o.addTo(f)
	f.BoolP("help", "h", false, "")
	f.Bool("version", false, "")
	return f
}

func TestLongOptionsMayBeCutShort(t *testing.T) {
	for given, want := range map[string]string{
		"--image-s 3 vm":           "--image-size 3 vm",
		"--image-s=3 vm":           "--image-size=3 vm",
		"--no vm":                  "--no-tmpfs vm", // -n has no long name there
		"--n vm":                   "--no-tmpfs vm",
		"--che --off --ins source": "--checksum --offline --install-type source",
		"--hel":                    "--help",
		"--ver":                    "--version",
		"--mkfs-o --offl vm":       "--mkfs-options --offl vm", // a value, whatever it looks like
		"-o --offl vm":             "-o --offl vm",
		"-xuo --offl vm":           "-xuo --offl vm",
		"-ofoo --offl vm":          "-ofoo --offline vm",
		"-xu --offl vm":            "-xu --offline vm",
		"-z --offl vm":             "-z --offline vm",
		"vm --offl -- --offl":      "vm --offline -- --offl",
		"--root-label":             "--root-label",
		"- --offl":                 "- --offline",
	} {
		got, err := expandAbbreviations(dibFlags(&options{}), strings.Fields(given))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", given, got, err)
		}
	}
	for given, want := range map[string]string{
		"--image- 3":    "'--image-' is ambiguous; possibilities: '--image-cache' '--image-extra-size' '--image-size'",
		"--m=4":         "is ambiguous",
		"--nonsense":    "unrecognized option '--nonsense'",
		"--clean-sheet": "unrecognized option",
	} {
		if got, err := expandAbbreviations(dibFlags(&options{}), strings.Fields(given)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", given, got, err)
		}
	}
}

// jobOf makes a job of a command line of dibber build.
func jobOf(t *testing.T, line string) (name string, types []string, trace int, err error) {
	t.Helper()
	var o options
	f := dibFlags(&o)
	if err := f.Parse(strings.Split(line, " ")); err != nil {
		t.Fatal(err)
	}
	job, err := o.job(f.Args(), places{cwd: "/"}, true)
	return job.Name, job.Types, job.Trace, err
}

func TestOptionsBecomeAJobOrAMistakeOfTheUser(t *testing.T) {
	for _, name := range []string{"DIB_CHECKSUM", "DIB_IMAGE_SIZE", "DIB_IMAGE_EXTRA_SIZE", "DIB_JOURNAL_SIZE", "DIB_BLOCK_SIZE", "MAX_ONLINE_RESIZE", "SOURCE_DATE_EPOCH"} {
		t.Setenv(name, "")
	}
	t.Setenv("DIB_DEBUG_TRACE", "1")
	name, types, trace, err := jobOf(t, "-xx -o out/a.b -t raw,tar,raw -t tar vm")
	if err != nil || name != "out/a.b" || !slices.Equal(types, []string{"raw", "tar"}) || trace != 3 {
		t.Errorf("%s %v %d, %v", name, types, trace, err)
	}
	if name, _, _, err := jobOf(t, "-o out/a.raw -t raw vm"); err != nil || name != "out/a" {
		t.Errorf("%s, %v", name, err)
	}
	for line, want := range map[string]string{
		"-t  vm":                     "-t names no output type",
		"-o  vm":                     `-o "" names no output`,
		"-o out/ vm":                 `-o "out/" names no output`,
		"-o .raw -t raw vm":          `-o ".raw" names no output`,
		"--image-size -1 vm":         "--image-size -1",
		"--image-size NaN vm":        "--image-size NaN",
		"--image-extra-size +Inf vm": "--image-extra-size +Inf",
		"--mkfs-journal-size -4 vm":  "--mkfs-journal-size -4",
		"--max-online-resize x vm":   "--max-online-resize x",
	} {
		_, _, _, err := jobOf(t, line)
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for variable, value := range map[string]string{"DIB_IMAGE_SIZE": "-1", "DIB_BLOCK_SIZE": "-512", "DIB_CHECKSUM": "crc", "SOURCE_DATE_EPOCH": "today"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			_, _, _, err := jobOf(t, "vm")
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), variable+"="+value) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestHookToolsWriteInsideTheTargetOnly(t *testing.T) {
	dir := t.TempDir()
	target, outside := filepath.Join(dir, "target"), filepath.Join(dir, "outside")
	for _, d := range []string{target + "/usr/real", outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": "../outside", "absolute": outside, "in": "usr/real", "file": "../outside/file"} {
		if err := os.Symlink(to, filepath.Join(target, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DIBBER_TARGET", target)
	for _, path := range []string{"out/x", "absolute/x", "file", "none/x"} {
		if err := writeForHook(filepath.Join(target, path), []byte("text")); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	for _, path := range []string{target + "/usr/x", target + "/in/x", outside + "/x"} {
		if err := writeForHook(path, []byte("text")); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "text" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}
