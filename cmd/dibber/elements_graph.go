//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/element"
)

func (a *app) graphCommand() *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "graph [flags] [ELEMENT...]",
		Short: "Show what elements need and provide, as text or as a drawing",
		Example: `  dibber elements graph debian-minimal vm
  dibber elements graph --format svg -o elements.svg
  dibber elements graph --format dot | dot -Tpdf >elements.pdf`,
		Long: `Graph follows element-deps and element-provides from the elements named, or from
every element along ELEMENTS_PATH. Nothing is resolved: a name that no element
has is shown as provided, or as missing, and circles are kept.`,
		RunE: func(_ *cobra.Command, args []string) error { return a.graph(args, format, output) },
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, dot (Graphviz), mermaid or svg")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file instead of stdout")
	return cmd
}

func (a *app) graph(names []string, format, output string) error {
	draw := map[string]func(*element.Graph) string{
		"text": (*element.Graph).Text, "dot": (*element.Graph).DOT,
		"mermaid": (*element.Graph).Mermaid, "svg": (*element.Graph).SVG,
	}[format]
	if draw == nil {
		return &usageError{err: fmt.Errorf("--format %s is not known", format), hint: "choose text, dot, mermaid or svg"}
	}
	p, err := findPlaces()
	if err != nil {
		return err
	}
	g, err := element.NewGraph(elementsPath(p.builtin), names)
	if err != nil {
		return err
	}
	if output == "" {
		_, err = io.WriteString(a.stdout, draw(g))
		return err
	}
	if err := writeWhole(output, []byte(draw(g))); err != nil {
		return fmt.Errorf("cannot write the graph: %w", err)
	}
	return nil
}

func (a *app) infoCommand() *cobra.Command {
	var env bool
	cmd := &cobra.Command{
		Use:   "info [--env] ELEMENT...",
		Short: "Print all elements that a list brings in, as element-info does",
		Example: `  dibber elements info debian-minimal vm block-device-mbr
  eval "$(dibber elements info --env debian-minimal)"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{err: fmt.Errorf("%s takes the names of elements", cmd.CommandPath()), hint: cmd.CommandPath() + " --help shows examples"}
			}
			return a.info(args, env)
		},
	}
	cmd.Flags().BoolVarP(&env, "env", "e", false, "print what sets IMAGE_ELEMENT, IMAGE_ELEMENT_YAML and get_image_element_array in bash")
	return cmd
}

func (a *app) info(names []string, env bool) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	return a.printElements(elementsPath(p.builtin), names, env)
}

// printElements prints all elements that names bring in, or for env the text by
// which bash sets what hooks know of them.
func (a *app) printElements(path, names []string, env bool) error {
	set, err := element.Resolve(path, names)
	if err != nil {
		return err
	}
	if !env {
		_, err = fmt.Fprintln(a.stdout, set.ImageElement())
		return err
	}
	_, err = fmt.Fprint(a.stdout, elementVariables(set))
	return err
}

// elementVariables is the text by which bash sets what hooks know of the elements.
func elementVariables(set *element.Set) string {
	quote := func(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }
	return "export IMAGE_ELEMENT=" + quote(set.ImageElement()) + "\n" +
		"export IMAGE_ELEMENT_YAML=" + quote(set.YAML()) + "\n" +
		"get_image_element_array " + set.ArrayFunction() + ";\n" +
		"export -f get_image_element_array\n"
}

// elementInfo answers as diskimage-builder's command of that name does: its
// one option, and its exit statuses.
func (a *app) elementInfo(args []string) int {
	var env bool
	f := pflag.NewFlagSet("element-info", pflag.ContinueOnError)
	f.SetOutput(a.stderr)
	f.BoolVarP(&env, "env", "e", false, "print what sets the elements in bash")
	f.Usage = func() {
		fmt.Fprint(a.stdout, "usage: element-info [-h] [--env] ELEMENT...\n\nPrints all elements that a list brings in.\n\n", f.FlagUsages())
	}
	switch err := f.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	case f.NArg() == 0:
		fmt.Fprintln(a.stderr, "element-info: name at least one element")
		return exitUsage
	}
	if err := a.info(f.Args(), env); err != nil {
		a.report(err)
		return exitFailed
	}
	return exitDone
}
