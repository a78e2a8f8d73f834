//go:build containers_image_openpgp

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/doctor"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/vm"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON, asPod, trial bool
	cmd := &cobra.Command{
		Use:   "doctor [ELEMENT...]",
		Short: "Tell what this machine lacks for building, and the command that mends it",
		Example: `  dibber doctor
  dibber doctor debian-minimal vm      # and the tools that these elements need
  dibber doctor --pod                  # in a pod: what is missing in its YAML
  dibber doctor --json | jq -r '.[] | select(.state == "fail") | .mend'`,
		Long: `Doctor looks at user namespaces and the ids for them, makes a container and runs
a program in it, and looks at space, file systems, tools, other architectures and
KVM. Each line says ok, warn or fail; below what is not ok stands what to type.
The machine is left as it is.

With --pod, in a container of a pod, it prints the securityContext, seccomp profile
and volume that are missing, as YAML to paste, and then the whole recommended pod.
What the kernel refuses is tried, in a child process, and not guessed.
Exit status: 0 builds work here, 3 they do not.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if trial {
				return a.trial()
			}
			if asPod {
				return a.doctorPod(cmd.Context(), args, asJSON)
			}
			return a.doctor(cmd.Context(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list of name, state, detail and mend, or with --pod an object")
	cmd.Flags().BoolVar(&asPod, "pod", false, "print what this pod is missing, as YAML, and the pod that works")
	cmd.Flags().BoolVar(&trial, "trial", false, "only make a container, and say how it went")
	cmd.Flags().Lookup("trial").Hidden = true
	return cmd
}

func (a *app) doctor(ctx context.Context, names []string, asJSON bool) error {
	m, err := thisMachine(names)
	if err != nil {
		return err
	}
	found := doctor.Check(ctx, m)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if asJSON {
		text, err := json.MarshalIndent(found, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, string(text))
	} else {
		printFindings(a.stdout, found)
	}
	failed := doctor.Failed(found)
	if len(failed) == 0 {
		return nil
	}
	fmt.Fprintln(a.stderr, "dibber: builds do not work on this machine yet:", strings.Join(failed, ", "))
	return statusError(exitMachine)
}

// doctorPod says what a pod lacks. What elements need besides is asked of doctor
// alone.
func (a *app) doctorPod(ctx context.Context, names []string, asJSON bool) error {
	if len(names) > 0 {
		return &usageError{err: errors.New("dibber doctor --pod takes no elements"), hint: "dibber doctor " + strings.Join(names, " ") + " says what they need"}
	}
	m, err := thisMachine(nil)
	if err != nil {
		return err
	}
	advice := doctor.Advise(ctx, m)
	if ctx.Err() != nil {
		return errInterrupted
	}
	text := []byte(printable(advice.YAML()))
	if asJSON {
		if text, err = json.MarshalIndent(advice, "", "  "); err != nil {
			return err
		}
		text = append(text, '\n')
	}
	if _, err := a.stdout.Write(text); err != nil {
		return err
	}
	if advice.Works {
		return nil
	}
	fmt.Fprintln(a.stderr, "dibber: builds do not work here yet:", printable(oneLine(advice.Problem)))
	return statusError(exitMachine)
}

func printFindings(w io.Writer, found []doctor.Finding) {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Name))
	}
	for _, f := range found {
		fmt.Fprintf(w, "%-4s %-*s  %s\n", f.State, width, f.Name, oneLine(printable(f.Detail)))
		for line := range strings.Lines(f.Mend) {
			fmt.Fprintln(w, "       "+strings.TrimSuffix(line, "\n"))
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// thisMachine is the machine that dibber runs on, for the elements named.
func thisMachine(names []string) (doctor.Machine, error) {
	d, err := userDirs()
	if err != nil {
		return doctor.Machine{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return doctor.Machine{}, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return doctor.Machine{}, err
	}
	m := doctor.Machine{
		UID:     os.Getuid(),
		Path:    os.Getenv("PATH"),
		Program: program,
		InPod:   inPod(),
		Dirs: []doctor.Dir{
			{Name: "data", Path: d.data, Store: true},
			{Name: "cache", Path: d.cache},
			{Name: "output", Path: cwd},
		},
		Try: tryContainer,
		Kernel: func(ctx context.Context) doctor.Kernel {
			return doctor.Kernel(container.TryKernel(ctx, d.containers()))
		},
		GetSubIDs: getSubIDs,
		Booting:   vm.Missing,
		KVM:       func(ctx context.Context) vm.Probe { return vm.ProbeKVM(ctx, d.cache) },
	}
	if u, err := user.LookupId(strconv.Itoa(m.UID)); err == nil {
		m.User = u.Username
	}
	m.Elements, err = closeOver(d, names)
	return m, err
}

// closeOver adds the elements that the named ones depend on. A list without an
// operating system is as good as another here.
func closeOver(d dirs, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	builtin, err := d.builtinElements()
	if err != nil {
		return nil, err
	}
	path := elementsPath(builtin)
	set, err := element.Resolve(path, names)
	var noOS *element.MissingOSError
	if errors.As(err, &noOS) {
		set, err = element.Resolve(path, append(names, "oci-image"))
	}
	if err != nil {
		return nil, err
	}
	return set.Names(), nil
}

func getSubIDs(args ...string) (string, error) {
	out, err := exec.Command("getsubids", args...).Output()
	return string(out), err
}

// tryContainer starts this command once more with --trial, so that the trial
// goes through the same processes as a build.
func tryContainer(ctx context.Context) doctor.Trial {
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "doctor", "--trial")
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var t doctor.Trial
	if jsonErr := json.Unmarshal(out.Bytes(), &t); jsonErr == nil {
		return t
	}
	said, _, _ := strings.Cut(complaint.String(), "\nhint:")
	if said = strings.TrimSpace(said); said != "" {
		return doctor.Trial{Problem: strings.TrimPrefix(said, "dibber: ")}
	}
	return doctor.Trial{Problem: fmt.Sprintf("the trial ended without an answer: %v", err)}
}

// trial makes a container where builds make theirs, runs this binary in it and
// removes it. It prints a doctor.Trial.
func (a *app) trial() error {
	var t doctor.Trial
	err := a.inNamespaces(func() error {
		var err error
		t.Driver, t.Refused, err = runInContainer()
		return a.answer(t, err)
	})
	var status statusError
	if err == nil || errors.As(err, &status) {
		return err // answered inside
	}
	return a.answer(t, err)
}

func (a *app) answer(t doctor.Trial, err error) error {
	var machine *container.MachineError
	if errors.As(err, &machine) {
		t.Mend = machine.Mend
	}
	if err != nil {
		t.Problem = err.Error()
	}
	return json.NewEncoder(a.stdout).Encode(t)
}

// runInContainer gives the driver of a store in which a container was made, kept
// an owner that is not the caller, and ran a program; and what refused overlay.
func runInContainer() (driver, refused string, err error) {
	d, err := userDirs()
	if err != nil {
		return "", "", err
	}
	store, err := container.OpenStore(d.containers())
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	id := make([]byte, 4)
	rand.Read(id)
	place, err := store.NewBuild("trial-" + hex.EncodeToString(id))
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	c, err := place.New(context.Background(), container.Base{})
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	if err := store.Refused(); err != nil {
		refused = err.Error()
	}
	return store.Driver(), refused, useContainer(c)
}

func useContainer(c *container.Container) error {
	const nobody = 65534
	file := filepath.Join(c.Root(), "owned")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return err
	}
	if err := os.Lchown(file, nobody, nobody); err != nil {
		return fmt.Errorf("owners of files cannot be kept: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd := container.Command{Args: []string{"/dibber", "--version"}, Dir: "/", Output: &out}
	if err := c.Run(context.Background(), cmd, []container.Volume{{Source: self, Target: "/dibber", ReadOnly: true}}); err != nil {
		return fmt.Errorf("a program cannot run in a container: %w (%s)", err, strings.TrimSpace(out.String()))
	}
	return nil
}
