//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
)

// A build runs in namespaces of its own; what it made is pushed by the user's own
// process, outside of them, where logins and credential helpers are at home. The
// file that outputsVariable names tells the one what the other made.
const outputsVariable = "_DIBBER_OUTPUTS"

// preparePush refuses what cannot be pushed before anything is built, and asks the
// registries whether they will take it.
func (a *app) preparePush(ctx context.Context, o *options) (forget func(), err error) {
	targets, err := o.push.wanted(unique(o.types))
	if err != nil || len(targets) == 0 || os.Getenv(outputsVariable) != "" {
		return func() {}, err
	}
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return nil, err
	}
	defer s.end()
	for _, t := range targets {
		if err := oci.CheckPush(ctx, t.ref, o.push.options(s, "")); err != nil {
			return nil, fmt.Errorf("nothing is built: %w", err)
		}
	}
	f, err := os.CreateTemp("", "dibber-outputs-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a temporary file: %w", err)
	}
	name := f.Name()
	os.Setenv(outputsVariable, name)
	return func() { os.Remove(name) }, f.Close()
}

// noteOutputs leaves word of what was made.
func noteOutputs(r *build.Result) error {
	file := os.Getenv(outputsVariable)
	if file == "" {
		return nil
	}
	text, err := json.Marshal(r.Outputs)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot tell what was made: %w", err)
	}
	return nil
}

// pushBuilt pushes what a build made.
func (a *app) pushBuilt(ctx context.Context, o *options) error {
	targets, err := o.push.wanted(unique(o.types))
	if err != nil || len(targets) == 0 {
		return err
	}
	var made []output.Made
	text, err := os.ReadFile(os.Getenv(outputsVariable))
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		return fmt.Errorf("cannot learn what was made: %w", err)
	}
	s, err := newStory(a.stderr, o.progress)
	if err != nil {
		return err
	}
	unpushed := a.pushOutputs(ctx, s, made, targets, &o.push.registryFlags, o.architecture())
	s.end()
	err = o.changeResult(func(r *build.Result) {
		for i, out := range r.Outputs {
			for _, m := range made {
				if m.Path == out.Path && m.Type == out.Type {
					r.Outputs[i] = m
				}
			}
		}
	})
	return errors.Join(a.tellPushed(made, o.progress), err, unpushed)
}
