//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
)

// registryHelp explains where logins are found.
const registryHelp = `Logins come from the first of these files that has one for the registry or the
repository: --authfile alone, if given; else $REGISTRY_AUTH_FILE, or
$XDG_RUNTIME_DIR/containers/auth.json and ~/.config/containers/auth.json (podman
login, skopeo login); the secrets of $DIBBER_PULL_SECRETS; and
$DOCKER_CONFIG/config.json, or ~/.docker/config.json (docker login), with their
credential helpers. Each may also be a folder, as Kubernetes mounts a secret of
type kubernetes.io/dockerconfigjson; DIBBER_PULL_SECRETS takes several, separated
by colons.
Certificates are those of the machine or of $SSL_CERT_FILE, and of certs.d
(containers-certs.d(5)). Nothing goes out without encryption, unless the registry
is on this machine or --tls-verify=false says so.`

// registryFlags say how registries are reached.
type registryFlags struct {
	insecure bool
	authFile string
	retries  int
}

func (r *registryFlags) addTo(f *pflag.FlagSet) {
	f.Var(&inverted{&r.insecure}, "tls-verify", "false: talk to registries by http, or with any certificate")
	f.Lookup("tls-verify").NoOptDefVal = "true"
	f.StringVar(&r.authFile, "authfile", "", "`FILE` with logins, or the folder of a mounted secret, instead of the usual ones")
	f.IntVar(&r.retries, "retry", 4, "how often a registry is tried again that is busy or cannot be reached")
}

func (r *registryFlags) check() error {
	if r.retries < 0 {
		return &usageError{err: fmt.Errorf("--retry %d is less than none", r.retries)}
	}
	return nil
}

// inverted is a flag that is the opposite of a variable.
type inverted struct{ off *bool }

func (i *inverted) String() string   { return strconv.FormatBool(i.off == nil || !*i.off) }
func (i *inverted) Type() string     { return "bool" }
func (i *inverted) IsBoolFlag() bool { return true }
func (i *inverted) Set(text string) error {
	on, err := strconv.ParseBool(text)
	*i.off = !on
	return err
}

// options gives the flags as package oci takes them, with a story to tell.
func (r *registryFlags) options(s *story, step string) oci.ResolveOptions {
	retries := r.retries
	if retries == 0 {
		retries = -1
	}
	return oci.ResolveOptions{
		Insecure: r.insecure, AuthFile: r.authFile, Retries: retries,
		Note:     func(text string) { s.tell(build.Event{Kind: build.Note, Message: text}) },
		Progress: s.progress(step),
	}
}

// progress gives a function that tells of bytes of a step.
func (s *story) progress(step string) func(done, total int64) {
	return func(done, total int64) {
		s.tell(build.Event{Kind: build.Progress, Step: step, Done: done, Total: total})
	}
}

// pushFlags say what of a build's outputs goes where.
type pushFlags struct {
	registryFlags
	targets []string
}

func (p *pushFlags) addTo(f *pflag.FlagSet) {
	f.StringArrayVar(&p.targets, "push", nil, "push what was made to a registry: `[TYPE=]REF`; again for other types")
	p.registryFlags.addTo(f)
}

const pushHelp = `With --push REF the OCI image, or the only output, goes to REF, and every other
disk or image to REF with its type behind the tag: registry.example.org/debian:12
and registry.example.org/debian:12-qcow2. --push TYPE=REF names the place of one
type; without a plain REF nothing else is pushed. Disks become OCI artifacts, which
dibber pull and oras pull make files again. Outputs are written first and stay here.`

// pushTarget is one output type and where it goes.
type pushTarget struct{ kind, ref string }

// wanted settles which of the types go where.
func (p *pushFlags) wanted(types []string) ([]pushTarget, error) {
	if err := p.check(); err != nil || len(p.targets) == 0 {
		return nil, err
	}
	plain, typed := "", map[string]string{}
	for _, text := range p.targets {
		kind, ref, ok := strings.Cut(text, "=")
		if !ok {
			kind, ref = "", text
		}
		if err := oci.CheckPushName(ref); err != nil {
			return nil, &usageError{err: fmt.Errorf("--push %s: %w", text, err), hint: "write REGISTRY/REPOSITORY:TAG, or TYPE=REGISTRY/REPOSITORY:TAG"}
		}
		switch {
		case kind == "" && plain != "":
			return nil, &usageError{err: fmt.Errorf("--push names two places, %s and %s", plain, ref), hint: "write TYPE=REF for each"}
		case kind == "":
			plain = ref
		case !slices.Contains(types, kind) || !isPushable(kind):
			return nil, &usageError{err: fmt.Errorf("--push %s: there is no output of type %s to push", text, kind), hint: "-t names the outputs; disks and OCI images can be pushed"}
		default:
			typed[kind] = ref
		}
	}
	return spread(types, plain, typed)
}

// isPushable tells whether registries can hold an output type.
func isPushable(kind string) bool { return output.IsDisk(kind) || output.IsImage(kind) }

// spread gives every type its place.
func spread(types []string, plain string, typed map[string]string) ([]pushTarget, error) {
	var list []string // the types that the plain name is for; of the forms of one image the first
	for _, kind := range types {
		if isPushable(kind) && typed[kind] == "" && !(output.IsImage(kind) && slices.ContainsFunc(list, output.IsImage)) {
			list = append(list, kind)
		}
	}
	main := slices.IndexFunc(list, output.IsImage)
	switch {
	case len(list) == 1:
		main = 0
	case main < 0:
		main = slices.Index(list, output.ContainerDisk)
	}
	var targets []pushTarget
	for i, kind := range list {
		ref := oci.PushName(plain)
		if i != main {
			ref = oci.WithTagSuffix(plain, "-"+kind)
		}
		if plain != "" {
			targets = append(targets, pushTarget{kind, ref})
		}
	}
	if plain != "" && len(list) == 0 {
		return nil, &usageError{err: fmt.Errorf("--push %s: none of the outputs can be pushed", plain), hint: "disks and OCI images can: add oci or qcow2 to -t"}
	}
	for _, kind := range types {
		if ref := typed[kind]; ref != "" {
			targets = append(targets, pushTarget{kind, oci.PushName(ref)})
		}
	}
	return targets, nil
}

// unpushedError says that an output is here, whole, and not where it was to go.
type unpushedError struct {
	path, ref string
	flags     *registryFlags
	err       error
}

func (e *unpushedError) Error() string { return e.err.Error() }
func (e *unpushedError) Unwrap() error { return e.err }

func (e *unpushedError) hint() string {
	again := "dibber push"
	if e.flags.insecure {
		again += " --tls-verify=false"
	}
	if e.flags.authFile != "" {
		again += " --authfile " + e.flags.authFile
	}
	return fmt.Sprintf("%s is kept; to try again: %s %s %s", e.path, again, e.path, e.ref)
}

// pushOutputs pushes what was made, and notes in made where it is.
func (a *app) pushOutputs(ctx context.Context, s *story, made []output.Made, targets []pushTarget, flags *registryFlags, arch string) error {
	for _, t := range targets {
		var paths []string
		for _, m := range made {
			if m.Type == t.kind {
				paths = append(paths, m.Path)
			}
		}
		if len(paths) == 0 {
			continue // an element that makes its own image leaves outputs out
		}
		digest, err := pushFiles(ctx, s, flags, t, paths, arch)
		if err != nil {
			return &unpushedError{paths[0], t.ref, flags, err}
		}
		for i := range made {
			if made[i].Type == t.kind {
				made[i].Ref, made[i].Digest = t.ref, digest
			}
		}
	}
	return nil
}

// pushFiles pushes the files of one output type.
func pushFiles(ctx context.Context, s *story, flags *registryFlags, t pushTarget, paths []string, arch string) (string, error) {
	var content oci.Content
	var err error
	switch {
	case t.kind == "oci" || t.kind == output.ContainerDisk:
		if len(paths) > 1 {
			return "", fmt.Errorf("cannot push %s: there are %d, which need a name each", strings.Join(paths, ", "), len(paths))
		}
		content, err = oci.Open("oci:" + paths[0])
	case output.IsImage(t.kind):
		content, err = oci.Open(t.kind + ":" + paths[0])
	default:
		content, err = diskArtifact(ctx, s, paths, t.kind, arch)
	}
	if err != nil {
		return "", err
	}
	return pushContent(ctx, s, flags, t.ref, content)
}

func pushContent(ctx context.Context, s *story, flags *registryFlags, ref string, content oci.Content) (string, error) {
	step := "pushing " + ref
	end := s.step(step)
	if err := oci.Push(ctx, ref, content, flags.options(s, step)); err != nil {
		return "", err
	}
	end()
	return content.Digest(), nil
}

// diskArtifact makes an artifact of the disks of one machine.
func diskArtifact(ctx context.Context, s *story, paths []string, kind, arch string) (*oci.Artifact, error) {
	c := oci.ArtifactConfig{Type: output.DiskArtifactType, ConfigType: output.DiskConfigType, Architecture: arch}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path, errors.Unwrap(err))
		}
		if info.ModTime().After(c.Created) {
			c.Created = info.ModTime()
		}
		disk := lookAt(path)
		c.Architecture = first(c.Architecture, disk.arch)
		about := map[string]string{output.DiskFormatAnnotation: format.Canonical(kind)}
		if disk.size > 0 {
			about[output.DiskSizeAnnotation] = strconv.FormatInt(disk.size, 10)
		}
		c.Files = append(c.Files, oci.File{Path: path, Title: filepath.Base(path), MediaType: output.DiskMediaType(kind), Annotations: about})
	}
	epoch, err := sourceDateEpoch()
	if err != nil {
		return nil, err
	}
	if epoch != nil {
		c.Created = unixTime(*epoch)
	}
	step := "reading " + filepath.Base(paths[0])
	end := s.step(step)
	artifact, err := oci.NewArtifact(ctx, c, s.progress(step))
	if err == nil {
		end()
	}
	return artifact, err
}

// tellPushed prints where outputs were pushed to.
func (a *app) tellPushed(made []output.Made, progress string) error {
	for _, m := range made {
		if m.Ref == "" {
			continue
		}
		fmt.Fprintln(a.stdout, m.Ref+"@"+m.Digest)
		if progress == "json" {
			line, err := json.Marshal(m)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, `{"event":"pushed","output":%s}`+"\n", line)
		}
	}
	return nil
}
