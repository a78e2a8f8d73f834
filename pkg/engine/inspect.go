package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// inspectedConfig is Config under the names that docker and podman give.
type inspectedConfig struct {
	Hostname, User string
	Env, Cmd       []string
	Image          string `json:",omitempty"`
	WorkingDir     string
	Entrypoint     []string
	ExposedPorts   map[string]struct{} `json:",omitempty"`
	Volumes        map[string]struct{} `json:",omitempty"`
	Labels         map[string]string
	StopSignal     string `json:",omitempty"`
}

func set(words []string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, w := range words {
		m[w] = struct{}{}
	}
	return m
}

type inspectedImage struct {
	Id, Digest            string
	RepoTags, RepoDigests []string
	Created               string
	Author                string
	Config                inspectedConfig
	Architecture, Variant string
	Os                    string
	Size, VirtualSize     int64
	RootFS                inspectedLayers
	Labels                map[string]string
	User                  string
}

type inspectedLayers struct {
	Type   string
	Layers []string
}

type inspectedState struct {
	Status                string
	Running, Paused, Dead bool
	Pid, ExitCode         int
	Error                 string
	StartedAt, FinishedAt string
}

type inspectedMount struct {
	Type, Name, Source, Destination string
	RW                              bool
}

type inspectedContainer struct {
	Id, Name, Created string
	Path              string
	Args              []string
	State             inspectedState
	Image, ImageName  string
	Config            inspectedConfig
	Mounts            []inspectedMount
	NetworkSettings   struct{ Networks map[string]struct{} }
	HostConfig        struct{ NetworkMode string }
}

func (c *Command) inspect(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" inspect", "f,format= t,type=", "s,size l,latest")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 {
		return usagef("no container or image is named")
	}
	var found []any
	var errs []error
	for _, name := range l.operands {
		what, err := c.look(ctx, name, l.last("type"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, what)
	}
	if l.has("format") && l.last("format") != "json" {
		for _, what := range found {
			if err := c.print(l.last("format"), what); err != nil {
				return err
			}
		}
		return errors.Join(errs...)
	}
	text, err := json.MarshalIndent(append([]any{}, found...), "", "    ")
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Stdout, "%s\n", text)
	return errors.Join(errs...)
}

// look finds a container, else an image.
func (c *Command) look(ctx context.Context, name, kind string) (any, error) {
	if kind == "" || kind == "container" || kind == "all" {
		found, err := c.Containers.Container(name)
		if err == nil {
			return c.inspectedContainer(found), nil
		}
		if kind == "container" || !errors.Is(err, ErrUnknown) {
			return nil, err
		}
	}
	image, err := c.Images.Image(ctx, name, Platform{})
	if err != nil {
		return nil, err
	}
	return c.inspectedImage(image), nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (c *Command) inspectedImage(i Image) inspectedImage {
	out := inspectedImage{
		Id: c.digest(i.ID), Digest: i.Digest, RepoTags: []string{}, RepoDigests: append([]string{}, i.Digests...), Created: stamp(i.Created), Author: i.Author,
		Architecture: i.Architecture, Variant: i.Variant, Os: "linux", Size: i.Size, VirtualSize: i.Size,
		RootFS: inspectedLayers{"layers", append([]string{}, i.Layers...)}, Labels: i.Config.Labels, User: i.Config.User,
		Config: inspectedConfig{
			User: i.Config.User, Env: i.Config.Env, Cmd: i.Config.Cmd, WorkingDir: i.Config.WorkingDir, Entrypoint: i.Config.Entrypoint,
			ExposedPorts: set(i.Config.ExposedPorts), Volumes: set(i.Config.Volumes), Labels: i.Config.Labels, StopSignal: i.Config.StopSignal,
		},
	}
	for _, name := range i.Names {
		if !strings.Contains(name, "@") {
			out.RepoTags = append(out.RepoTags, c.shown(name))
		}
	}
	return out
}

func (c *Command) inspectedContainer(f Container) inspectedContainer {
	name := f.Name
	if !c.podman() {
		name = "/" + name
	}
	out := inspectedContainer{
		Id: f.ID, Name: name, Created: stamp(f.Created), Path: first(f.Process.Args), Args: f.Process.Args[min(1, len(f.Process.Args)):], Image: c.digest(f.Image), ImageName: f.ImageName,
		State: inspectedState{
			Status: string(f.Status), Running: f.Status == Running, Pid: f.PID, ExitCode: f.ExitCode, Error: f.Error,
			StartedAt: stamp(f.Started), FinishedAt: stamp(f.Finished),
		},
		Config: inspectedConfig{
			Hostname: f.Process.Hostname, User: f.Process.User, Env: f.Process.Env, Cmd: f.Process.Args, Image: f.ImageName,
			WorkingDir: f.Process.Dir, Labels: maps.Clone(f.Labels),
		},
	}
	out.NetworkSettings.Networks = map[string]struct{}{"host": {}}
	out.HostConfig.NetworkMode = "host"
	for _, v := range slices.Clone(f.Process.Volumes) {
		m := inspectedMount{Type: "bind", Source: v.Source, Destination: v.Target, RW: !v.ReadOnly}
		switch {
		case v.Source == "":
			m.Type = "tmpfs"
		case !strings.HasPrefix(v.Source, "/"):
			m.Type, m.Name = "volume", v.Source
		}
		out.Mounts = append(out.Mounts, m)
	}
	return out
}
