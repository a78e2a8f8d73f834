//go:build containers_image_openpgp

package container

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/imagebuildah"
	"go.podman.io/common/pkg/capabilities"
	"go.podman.io/image/v5/types"

	"github.com/dibber-project/dibber/pkg/engine"
)

// Build implements engine.Images. The images that the Containerfiles name must
// be in the store: nothing is fetched.
func (e *Engine) Build(ctx context.Context, b engine.Build, s engine.Streams) (string, error) {
	options, err := e.buildOptions(b, s)
	if err != nil {
		return "", err
	}
	var id string
	for range startAttempts {
		heard := &listener{to: s.Err, word: busyCopy}
		options.Err = heard
		id, _, err = imagebuildah.BuildDockerfiles(ctx, e.storage, options, b.Files...)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err == nil:
			return id, nil
		case !heard.it:
			return "", fmt.Errorf("cannot build %s: %w", strings.Join(b.Files, ", "), err)
		}
		// A command of RUN could not begin, as one of Run sometimes cannot. Which
		// it was the library does not tell, so the build begins again.
	}
	return "", fmt.Errorf("cannot build %s: %w", strings.Join(b.Files, ", "), err)
}

// listener passes output on and remembers whether a word was in it.
type listener struct {
	to   io.Writer
	word string

	mu   sync.Mutex // commands of RUN can write at the same time
	tail []byte     // of what came, shorter than the word
	it   bool       // the word was there
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := append(l.tail, p...)
	l.it = l.it || bytes.Contains(heard, []byte(l.word))
	l.tail = bytes.Clone(heard[max(0, len(heard)-len(l.word)+1):])
	if l.to == nil {
		return len(p), nil
	}
	return l.to.Write(p)
}

func (e *Engine) buildOptions(b engine.Build, s engine.Streams) (define.BuildOptions, error) {
	all, err := capabilities.BoundingSet()
	if err != nil {
		return define.BuildOptions{}, fmt.Errorf("reading own capabilities: %w", err)
	}
	if b.Quiet {
		s.Out = io.Discard
	}
	system := *e.system
	if b.Platform.Arch != "" {
		system.ArchitectureChoice, system.VariantChoice = b.Platform.Arch, b.Platform.Variant
	}
	o := define.BuildOptions{
		ContextDirectory: b.Context,
		IgnoreFile:       b.IgnoreFile,
		From:             b.From,
		Target:           b.Target,
		Args:             b.Args,
		OutputFormat:     manifestType(b.Docker),
		NoCache:          b.NoCache,
		Layers:           b.Layers,
		Squash:           b.Squash,
		Labels:           b.Labels,
		Annotations:      b.Annotations,
		Envs:             b.Env,
		UnsetEnvs:        b.UnsetEnv,
		Timestamp:        b.Timestamp,
		Quiet:            b.Quiet,
		Out:              s.Out,
		Err:              s.Err,
		ReportWriter:     io.Discard,

		AdditionalBuildContexts: map[string]*define.AdditionalBuildContext{},

		// Commands of RUN are root with every capability of the user namespace,
		// as those of hooks are.
		Isolation:        define.IsolationChroot,
		AddCapabilities:  all,
		NetworkInterface: noNetwork{},
		PullPolicy:       define.PullNever,
		SystemContext:    &system,
		CommonBuildOpts: &define.CommonBuildOptions{
			AddHost: b.Hosts, DNSServers: b.DNS, Secrets: b.Secrets, Volumes: b.Volumes, Ulimit: ulimits(),
			SeccompProfilePath: "unconfined", IdentityLabel: types.OptionalBoolFalse,
		},
		SignaturePolicyPath:     e.policy,
		DefaultMountsFilePath:   e.mounts,
		RemoveIntermediateCtrs:  true,
		ForceRmIntermediateCtrs: true,
	}
	o.NamespaceOptions = define.NamespaceOptions{{Name: "network", Host: true}}
	if len(b.Names) > 0 {
		o.Output, o.AdditionalTags = b.Names[0], b.Names[1:]
	}
	for name, value := range b.Contexts {
		o.AdditionalBuildContexts[name] = buildContext(value)
	}
	return o, nil
}

// buildContext reads a value of --build-context: a directory, or an image.
func buildContext(value string) *define.AdditionalBuildContext {
	if image, ok := strings.CutPrefix(value, "docker-image://"); ok {
		return &define.AdditionalBuildContext{IsImage: true, Value: image}
	}
	return &define.AdditionalBuildContext{Value: value}
}
