//go:build containers_image_openpgp

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/element"
)

func (a *app) elementsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "elements",
		Short: "List and show elements, built in and along ELEMENTS_PATH",
		Example: `  dibber elements list
  dibber elements show debian-minimal
  dibber elements graph --format svg -o elements.svg debian-minimal vm
  cp -r "$(dibber elements path growroot)" elements/   # to change a copy`,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List every element with its first line", Args: exactArgs(0, "no argument"),
			RunE: func(*cobra.Command, []string) error { return a.listElements() }},
		&cobra.Command{Use: "show ELEMENT", Short: "Show what an element needs, provides and runs", Args: exactArgs(1, "the name of one element"),
			RunE: func(_ *cobra.Command, args []string) error { return a.showElement(args[0]) }},
		&cobra.Command{Use: "path ELEMENT", Short: "Print the folder of an element", Args: exactArgs(1, "the name of one element"),
			RunE: func(_ *cobra.Command, args []string) error {
				e, err := findElement(args[0])
				if err == nil {
					fmt.Fprintln(a.stdout, e.Dir)
				}
				return err
			}},
		a.graphCommand(),
		a.infoCommand(),
	)
	return cmd
}

func allElements() ([]*element.Element, error) {
	p, err := findPlaces()
	if err != nil {
		return nil, err
	}
	return element.List(elementsPath(p.builtin))
}

func findElement(name string) (*element.Element, error) {
	p, err := findPlaces()
	if err != nil {
		return nil, err
	}
	return element.Find(elementsPath(p.builtin), name)
}

func (a *app) listElements() error {
	all, err := allElements()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%s\n", e.Name, e.Summary())
	}
	return w.Flush()
}

func (a *app) showElement(name string) error {
	e, err := findElement(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", e.Name, e.Summary())
	fmt.Fprintln(a.stdout, "folder:  ", e.Dir)
	if len(e.Deps) > 0 {
		fmt.Fprintln(a.stdout, "needs:   ", strings.Join(e.Deps, " "))
	}
	if len(e.Provides) > 0 {
		fmt.Fprintln(a.stdout, "provides:", strings.Join(e.Provides, " "))
	}
	for _, p := range element.Phases() {
		hooks, err := e.Hooks(p.Name)
		if err != nil {
			return err
		}
		for _, h := range hooks {
			where := "outside"
			if p.Inside {
				where = "inside"
			}
			fmt.Fprintf(a.stdout, "hook:     %s.d/%s (%s)\n", p.Name, h, where)
		}
	}
	return nil
}
