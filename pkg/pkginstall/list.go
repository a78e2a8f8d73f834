package pkginstall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// List is what to install and to uninstall in each phase.
type List struct {
	Phases   []Phase  // sorted by name; none is empty
	Warnings []string // keys and phases that have no effect
}

// Phase is the part of a List for one phase, such as install.d.
type Phase struct {
	Name      string
	Install   []Package
	Uninstall []Package
}

// Package is one package by the name that its element knows it by, before
// pkg-map gives it that of the distribution.
type Package struct{ Name, Element string }

// JSON gives the list in the form of diskimage-builder's
// /tmp/package-installs.json:
//
//	{phase: {"install": [[package, element], ...], "uninstall": [...]}}
//
// An operation with no package has no key.
func (l *List) JSON() ([]byte, error) {
	phases := map[string]map[string][][2]string{}
	for _, p := range l.Phases {
		operations := map[string][][2]string{}
		for _, o := range p.operations() {
			for _, pkg := range o.packages {
				operations[o.name] = append(operations[o.name], [2]string{pkg.Name, pkg.Element})
			}
		}
		phases[p.Name] = operations
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(phases); err != nil {
		return nil, fmt.Errorf("encoding package-installs.json: %w", err)
	}
	return b.Bytes(), nil
}

// TSV gives the list for a shell: a line for each package with phase, install
// or uninstall, element and package, parted by tabs. No field is empty or
// holds a control character.
func (l *List) TSV() []byte {
	var b strings.Builder
	for _, p := range l.Phases {
		for _, o := range p.operations() {
			for _, pkg := range o.packages {
				b.WriteString(p.Name + "\t" + o.name + "\t" + pkg.Element + "\t" + pkg.Name + "\n")
			}
		}
	}
	return []byte(b.String())
}

type operation struct {
	name     string
	packages []Package
}

func (p Phase) operations() []operation {
	return []operation{{"install", p.Install}, {"uninstall", p.Uninstall}}
}
