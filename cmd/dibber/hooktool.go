//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/pkginstall"
	"github.com/dibber-project/dibber/pkg/svcmap"
	"github.com/dibber-project/dibber/pkg/yaml11"
)

// hookTool is the command that hooks call through $DIBBER.
const hookTool = "hook-tool"

// hookToolCommand holds what hooks of outside phases call through $DIBBER.
func (a *app) hookToolCommand() *cobra.Command {
	cmd := &cobra.Command{Use: hookTool, Short: "What hooks call through $DIBBER", Hidden: true}
	var names, path string
	squash := &cobra.Command{
		Use:   "package-installs-squash OUTPUT",
		Short: "Squash the package-installs files of the elements into one list",
		Args:  exactArgs(1, "the file to write"),
		RunE:  func(_ *cobra.Command, args []string) error { return squashPackages(names, path, args[0]) },
	}
	squash.Flags().StringVar(&names, "elements", "", "elements, separated by blanks")
	squash.Flags().StringVar(&path, "path", "", "where an element is looked for that is not part of the build")
	cmd.AddCommand(squash, a.elementInfoCommand(), a.extractImageCommand(), &cobra.Command{
		Use:   "svc-map-merge OUTPUT",
		Short: "Merge the svc-map files of the elements",
		Args:  exactArgs(1, "the file to write"),
		RunE:  func(_ *cobra.Command, args []string) error { return mergeServices(args[0]) },
	})
	cmd.AddCommand(a.engineCommands()...)
	return cmd
}

// elementInfoCommand is diskimage-builder's element-info.
func (a *app) elementInfoCommand() *cobra.Command {
	var env bool
	cmd := &cobra.Command{
		Use:   "element-info ELEMENT...",
		Short: "Print elements with all that they need",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				return &usageError{err: errors.New("no element given"), hint: "usage: " + cmd.UseLine()}
			}
			path := os.Getenv("ELEMENTS_PATH")
			if path == "" {
				return errors.New("ELEMENTS_PATH is empty: it names the folders of elements")
			}
			return a.printElements(strings.Split(path, ":"), names, env)
		},
	}
	cmd.Flags().BoolVarP(&env, "env", "e", false, "print what bash evaluates to tell hooks of them")
	return cmd
}

// hookElements reads the elements of the build that a hook belongs to from the
// variable that diskimage-builder defines for it: lines of "name: folder".
func hookElements() (map[string]string, error) {
	const name = "IMAGE_ELEMENT_YAML"
	if os.Getenv(name) == "" {
		return nil, errors.New(name + " is empty: this command is for hooks")
	}
	root, err := yaml11.Parse(name, []byte(os.Getenv(name)))
	if err != nil {
		return nil, err
	}
	pairs, err := root.Entries()
	if err != nil {
		return nil, err
	}
	folders := map[string]string{}
	for _, p := range pairs {
		folder, err := p.Value.Text()
		if err != nil {
			return nil, err
		}
		folders[p.Key.Str()] = folder
	}
	return folders, nil
}

// packageSources gives the folders of elements: those of the build, and for other
// names what is found along path. A name that is found nowhere has no packages.
func packageSources(names, path string) ([]pkginstall.Source, error) {
	folders := map[string]string{}
	if path == "" || os.Getenv("IMAGE_ELEMENT_YAML") != "" {
		var err error
		if folders, err = hookElements(); err != nil {
			return nil, err
		}
	}
	var sources []pkginstall.Source
	for _, name := range strings.Fields(names) {
		dir, ok := folders[name]
		for _, place := range filepath.SplitList(path) {
			if ok || !filepath.IsLocal(name) {
				break
			}
			dir = filepath.Join(place, name)
			info, err := os.Stat(dir)
			ok = err == nil && info.IsDir()
		}
		if ok {
			sources = append(sources, pkginstall.Source{Name: name, Dir: dir})
		}
	}
	return sources, nil
}

func squashPackages(names, path, output string) error {
	sources, err := packageSources(names, path)
	if err != nil {
		return err
	}
	list, err := pkginstall.Squash(sources, os.LookupEnv)
	if err != nil {
		return err
	}
	for _, w := range list.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	asJSON, err := list.JSON()
	if err != nil {
		return err
	}
	if err := writeForHook(output, asJSON); err != nil {
		return err
	}
	return writeForHook(strings.TrimSuffix(output, ".json")+".tsv", list.TSV())
}

// writeForHook writes a file. One below the target is written there, whatever
// symbolic links the target holds.
func writeForHook(path string, data []byte) error {
	target := os.Getenv("DIBBER_TARGET")
	inner, err := filepath.Rel(target, path)
	if target == "" || err != nil || !filepath.IsLocal(inner) {
		return os.WriteFile(path, data, 0o644)
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.WriteFile(inner, data, 0o644)
}

func mergeServices(output string) error {
	folders, err := hookElements()
	if err != nil {
		return err
	}
	var sources []svcmap.Source
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		sources = append(sources, svcmap.Source{Name: name, Dir: folders[name]})
	}
	m, err := svcmap.Merge(sources, os.Getenv("DISTRO_NAME"))
	if err != nil {
		return err
	}
	return writeForHook(output, m.YAML())
}
