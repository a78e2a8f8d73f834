//go:build containers_image_openpgp

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/pypi"
	"github.com/dibber-project/dibber/pkg/pypi/dist"
)

// officialIndex is what is asked when no other index is named.
const officialIndex = "https://pypi.org/simple"

func (a *app) pypiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pypi",
		Short: "Keep a mirror of Python packages for builds without network",
		Example: `  dibber pypi sync -r requirements.txt            # put into the mirror what a build will install
  dibber build --offline debian-minimal pypi app  # the element pypi uses it
  dibber pypi serve                               # an index that keeps what is asked of it
  dibber pypi verify --repair`,
		Long: `The mirror is a directory, ~/.cache/image-create/pypi/mirror (DIB_IMAGE_CACHE or
--image-cache moves it), that pip can use as file:///DIRECTORY too.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{err: fmt.Errorf("dibber pypi has no command %q", args[0]), hint: "dibber pypi --help lists the commands"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.pypiServeCommand(), a.pypiSyncCommand(), a.pypiVerifyCommand())
	return cmd
}

// pypiPlace are the flags that say where a mirror is and where it is filled from.
type pypiPlace struct {
	dir, imageCache string
	upstreams       []string
	maxFile         int64
	timeout         time.Duration
}

func (p *pypiPlace) addTo(f *pflag.FlagSet, upstream string) {
	f.SortFlags = false
	f.StringVar(&p.dir, "mirror", "", "the mirror's directory `DIR` (~/.cache/image-create/pypi/mirror)")
	f.StringVar(&p.imageCache, "image-cache", "", "the mirror is in pypi/mirror below `DIR`, as with dibber build")
	f.StringArrayVar(&p.upstreams, "upstream", nil, upstream+"; again for more: the first that knows a project answers for it")
	f.Int64Var(&p.maxFile, "max-file", pypi.DefaultMaxFile, "refuse larger files (`BYTES`)")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long an index may send nothing")
}

// mirrorDir is where the mirror is.
func (p *pypiPlace) mirrorDir() (string, error) {
	if p.dir != "" {
		return filepath.Abs(p.dir)
	}
	cache := first(p.imageCache, os.Getenv("DIB_IMAGE_CACHE"), "~/.cache/image-create")
	if below, ok := strings.CutPrefix(cache, "~/"); ok {
		cache = filepath.Join(home(), below)
	}
	return filepath.Abs(filepath.Join(cache, "pypi/mirror"))
}

// open opens the mirror, made if need be.
func (p *pypiPlace) open() (*pypi.Mirror, error) {
	dir, err := p.mirrorDir()
	if err != nil {
		return nil, err
	}
	m, err := pypi.OpenMirror(dir)
	return m, mirrorFault(err)
}

// mirrorFault adds what to do about a directory that is no mirror.
func mirrorFault(err error) error {
	var problem *pypi.MirrorError
	if errors.As(err, &problem) {
		return &usageError{err: err, hint: problem.Hint()}
	}
	return err
}

// sources opens the indexes that are asked.
func (p *pypiPlace) sources(upstreams []string) ([]pypi.Source, error) {
	client, err := pypi.NewClient(pypi.ClientOptions{
		Netrc: netrc(), CAFile: first(os.Getenv("PIP_CERT"), os.Getenv("REQUESTS_CA_BUNDLE")),
		Timeout: p.timeout, Agent: "dibber/" + version,
	})
	if err != nil {
		return nil, err
	}
	var out []pypi.Source
	for _, u := range upstreams {
		s, err := pypi.NewSource(u, client)
		if err != nil {
			return nil, &usageError{err: err, hint: "--upstream takes the address of a simple index, as " + officialIndex + ", or a directory"}
		}
		out = append(out, s)
	}
	return out, nil
}

// netrc is where the passwords of indexes are.
func netrc() string {
	if file := os.Getenv("NETRC"); file != "" {
		return file
	}
	return filepath.Join(home(), ".netrc")
}

// pypiServeOptions are the flags of dibber pypi serve.
type pypiServeOptions struct {
	pypiPlace
	listen, readyFile string
	offline, quiet    bool
	maxAge            time.Duration
	log               func(string)
}

func (a *app) pypiServeCommand() *cobra.Command {
	var o pypiServeOptions
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Serve the mirror as an index that keeps what is asked of it",
		Example: `  dibber pypi serve
  pip install --index-url http://127.0.0.1:3141/simple flask
  dibber pypi serve --upstream https://pypi.example.org/simple --listen 127.0.0.1:8080
  dibber pypi serve --upstream ./wheels --mirror ./mirror
  dibber pypi serve --offline`,
		Long: `Serve answers as a simple index (HTML and JSON), and asks the upstream for what is not
kept; each file is kept when its hash is right. When the upstream does not answer, what is
kept is served, which the log tells. Passwords for an upstream are taken from its URL
or ~/.netrc, proxies from HTTPS_PROXY and its like, certificates from SSL_CERT_FILE or
PIP_CERT. There is no password for clients: who reaches the address gets all.
Ctrl-C ends it.`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.pypiServe(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	o.addTo(f, "index (`URL`) or directory to fill the mirror from ("+officialIndex+")")
	f.StringVar(&o.listen, "listen", "127.0.0.1:3141", "`ADDRESS` to listen on; port 0 is any free one")
	f.StringVar(&o.readyFile, "ready-file", "", "write the server's URL to this `FILE` when it answers")
	f.BoolVar(&o.offline, "offline", false, "serve what is kept, and ask nobody")
	f.DurationVar(&o.maxAge, "max-age", 10*time.Second, "how long a page of the upstream holds before it is asked again")
	f.BoolVar(&o.quiet, "quiet", false, "do not tell what is kept and what fails")
	return cmd
}

func (a *app) pypiServe(ctx context.Context, o *pypiServeOptions) error {
	if !o.quiet {
		var mu sync.Mutex
		o.log = func(line string) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(a.stderr, printable(line))
		}
	}
	server, err := a.pypiServer(*o)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return &usageError{err: fmt.Errorf("cannot listen on %s: %w", o.listen, err), hint: "--listen 127.0.0.1:0 takes any free port"}
	}
	url := "http://" + l.Addr().String() + "/simple"
	fmt.Fprintln(a.stderr, "listening on", url)
	if o.readyFile != "" {
		if err := writeWhole(o.readyFile, []byte(url+"\n")); err != nil {
			return errors.Join(err, l.Close())
		}
		defer os.Remove(o.readyFile)
	}
	return server.Serve(ctx, l)
}

// pypiServer opens a mirror and its upstreams as dibber pypi serve does.
func (a *app) pypiServer(o pypiServeOptions) (*pypi.Server, error) {
	upstreams := o.upstreams
	switch {
	case o.offline && len(upstreams) > 0:
		return nil, &usageError{err: errors.New("--offline asks no --upstream"), hint: "leave one of them out"}
	case !o.offline && len(upstreams) == 0:
		upstreams = []string{officialIndex}
	}
	sources, err := o.sources(upstreams)
	if err != nil {
		return nil, err
	}
	m, err := o.open()
	if err != nil {
		return nil, err
	}
	return pypi.NewServer(pypi.ServerOptions{Mirror: m, Sources: sources, MaxAge: o.maxAge, MaxFile: o.maxFile, Log: o.log, Now: time.Now})
}

func (a *app) pypiVerifyCommand() *cobra.Command {
	var o pypiPlace
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify [flags] [DIR]",
		Short: "Check every file of a mirror",
		Example: `  dibber pypi verify
  dibber pypi verify --repair
  dibber pypi verify --repair --upstream ./wheels ./mirror`,
		Long: `Verify reads every file and compares its hash with that of its page, and the pages with
what is kept. What is wrong goes to stdout, a line each. --repair gets damaged files again,
which must be what they were, writes pages anew and removes what a killed writer left.
Exit status: 0 all is right or was mended, 4 something is wrong.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactArgs(1, "one directory")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.dir = args[0]
			}
			return a.pypiVerify(cmd.Context(), &o, repair)
		},
	}
	o.addTo(cmd.Flags(), "index (`URL`) or directory that has the files still ("+officialIndex+")")
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can be mended")
	return cmd
}

func (a *app) pypiVerify(ctx context.Context, o *pypiPlace, repair bool) error {
	dir, err := o.mirrorDir()
	if err != nil {
		return err
	}
	if err := pypi.CheckMirror(dir); err != nil {
		return mirrorFault(err)
	}
	options := pypi.VerifyOptions{Repair: repair, MaxFile: o.maxFile}
	if repair {
		if o.upstreams == nil {
			o.upstreams = []string{officialIndex}
		}
		if options.Sources, err = o.sources(o.upstreams); err != nil {
			return err
		}
	}
	m, err := pypi.OpenMirror(dir)
	if err != nil {
		return mirrorFault(err)
	}
	defer m.Close()
	found, err := m.Verify(ctx, options)
	if err != nil {
		return err
	}
	for _, f := range found.Faults {
		mended := ""
		if f.Repaired {
			mended = " (mended)"
		}
		fmt.Fprintf(a.stdout, "%s: %s%s\n", onOneLine(f.Path), onOneLine(f.What), mended)
	}
	wrong := found.Wrong()
	fmt.Fprintf(a.stderr, "%d files read, %d faults, %d of them mended\n", found.Files, len(found.Faults), len(found.Faults)-wrong)
	if wrong == 0 {
		return nil
	}
	fmt.Fprintf(a.stderr, "dibber: the mirror %s is not right\n", printable(dir))
	if !repair {
		fmt.Fprintln(a.stderr, "hint: dibber pypi verify --repair mends it")
	}
	return statusError(exitCheck)
}

// targets reads --python and --platform: every Python with every platform. Without
// them it is the Pythons of Debian 12 and 13, on this machine's processor.
func targets(pythons, platforms []string) ([]*dist.Target, error) {
	if pythons == nil {
		pythons = []string{"3.11", "3.13"}
	}
	if platforms == nil {
		platforms = []string{"manylinux_2_36_" + machine()}
	}
	var out []*dist.Target
	for _, python := range pythons {
		for _, platform := range platforms {
			t, err := dist.NewTarget(python, strings.ReplaceAll(platform, "-", "_"))
			if err != nil {
				return nil, &usageError{err: err}
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// machine is this processor as the names of wheels have it.
func machine() string {
	known := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
	return cmp.Or(known[hostArch], hostArch)
}
