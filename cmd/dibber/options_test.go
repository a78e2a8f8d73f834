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

	"github.com/dibber-project/dibber/pkg/definition"
)

// jobOf makes a job of a command line of dibber build.
func jobOf(t *testing.T, line string) (name string, types []string, trace int, err error) {
	t.Helper()
	var o options
	f := pflag.NewFlagSet("build", pflag.ContinueOnError)
	o.addTo(f)
	if err := f.Parse(strings.Split(line, " ")); err != nil {
		t.Fatal(err)
	}
	job, err := o.job(f.Args(), places{cwd: "/"}, true)
	return job.Name, job.Types, job.Trace, err
}

func TestOptionsBecomeAJobOrAMistakeOfTheUser(t *testing.T) {
	for _, name := range []string{"DIB_CHECKSUM", "DIB_IMAGE_SIZE", "DIB_IMAGE_EXTRA_SIZE", "DIB_JOURNAL_SIZE", "DIB_BLOCK_SIZE", "MAX_ONLINE_RESIZE", "SOURCE_DATE_EPOCH", "IMAGE_NAME", "ACI_MANIFEST"} {
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
	if name, _, _, err := jobOf(t, "-o  vm"); err != nil || name != "image" {
		t.Errorf("%s, %v", name, err)
	}
	for line, want := range map[string]string{
		"-t  vm":                     "-t names no output type",
		"-o out/ vm":                 `-o "out/" names no output`,
		"-o .raw -t raw vm":          `-o ".raw" names no output`,
		"--image-size -1 vm":         "--image-size -1",
		"--image-size NaN vm":        "--image-size NaN",
		"--image-extra-size +Inf vm": "--image-extra-size +Inf",
		"--mkfs-journal-size -4 vm":  "--mkfs-journal-size -4",
		"--max-online-resize x vm":   "--max-online-resize x",
		"--docker-target A/b?! vm":   "--docker-target A/b?! cannot name an image",
	} {
		_, _, _, err := jobOf(t, line)
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for variable, value := range map[string]string{"ACI_MANIFEST": "/none/there", "DIB_IMAGE_SIZE": "-1", "DIB_BLOCK_SIZE": "-512", "DIB_CHECKSUM": "crc", "SOURCE_DATE_EPOCH": "today"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			_, _, _, err := jobOf(t, "-t aci vm")
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), variable+"="+value) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestElementsAreCompletedAsDiskImageCreateDoes(t *testing.T) {
	t.Setenv("IMAGE_ELEMENT", "")
	t.Setenv("RAMDISK_ELEMENT", "")
	t.Setenv("SKIP_BASE", "")
	for _, c := range []struct {
		o    options
		args []string
		want string
	}{
		{options{}, []string{"debian", "vm"}, "base debian vm block-device-mbr"},
		{options{}, []string{"debian vm", " "}, "base debian vm block-device-mbr"},
		{options{skipBase: true}, []string{"debian"}, "debian"},
		{options{ramdisk: true}, []string{"debian"}, "ramdisk base debian"},
		{options{ramdisk: true, skipBase: true, ramdiskElement: "dracut-ramdisk"}, []string{"debian"}, "dracut-ramdisk debian"},
	} {
		if got := strings.Join(c.o.elements(c.args, "amd64", false), " "); got != c.want {
			t.Errorf("%+v: %s, not %s", c.args, got, c.want)
		}
	}
	t.Setenv("IMAGE_ELEMENT", "first")
	t.Setenv("RAMDISK_ELEMENT", "mine")
	t.Setenv("SKIP_BASE", "1")
	o := options{ramdisk: true}
	if got := strings.Join(o.elements([]string{"debian"}, "amd64", false), " "); got != "mine first debian" {
		t.Error(got)
	}
}

func TestDibberTakesTheTypesThatDefinitionsMayName(t *testing.T) {
	known := definition.Types()
	slices.Sort(known)
	if !slices.Equal(known, outputTypes()) {
		t.Errorf("definitions: %q\nbuilds: %q", known, outputTypes())
	}
}

func TestTheCallersVariablesAreClearedWhenAsked(t *testing.T) {
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value) // restores all of them in the end
	}
	t.Setenv("DIB_RELEASE", "sid")
	t.Setenv("OTHER", "x")
	t.Setenv("CLEAR_ENV", "")
	(&options{}).clearEnvironment()
	if os.Getenv("OTHER") != "x" {
		t.Error("cleared unasked")
	}
	t.Setenv(keepVariable, "DIB_RELEASE")
	t.Setenv("CLEAR_ENV", "1")
	t.Setenv("_CONTAINERS_X", "y")
	home := os.Getenv("HOME")
	(&options{}).clearEnvironment()
	_, there := os.LookupEnv("OTHER")
	if there || os.Getenv("DIB_RELEASE") != "sid" || os.Getenv("HOME") != home || os.Getenv("_CONTAINERS_X") != "y" || os.Getenv("CLEAR_ENV") != "" {
		t.Errorf("what is left: %q", os.Environ())
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
