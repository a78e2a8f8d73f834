package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

func (c *Command) pull(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" pull", "q,quiet platform= arch= variant=", "disable-content-trust os= policy= retry= retry-delay= tls-verify")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 {
		return usagef("no image is named")
	}
	p, err := c.platform(l)
	if err != nil {
		return err
	}
	for _, name := range l.operands {
		image, err := c.ensure(ctx, name, p, "always")
		if err != nil {
			return err
		}
		if c.podman() {
			fmt.Fprintln(c.Stdout, image.ID)
			continue
		}
		if !l.has("quiet") {
			fmt.Fprintf(c.Stdout, "Digest: %s\n", image.Digest)
		}
		fmt.Fprintln(c.Stdout, cmp.Or(first(image.Names), name))
	}
	return nil
}

func (c *Command) tag(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" tag", "", "")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) < 2 {
		return usagef("an image and a new name are wanted")
	}
	for _, name := range l.operands[1:] {
		if err := checkImage(name); err != nil {
			return err
		}
		if err := c.Images.Tag(ctx, l.operands[0], name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Command) rmi(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" rmi", "f,force a,all i,ignore", "no-prune platform=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	names := l.operands
	if l.has("all") {
		all, err := c.Images.Images(ctx)
		if err != nil {
			return err
		}
		for _, image := range all {
			names = append(names, image.ID)
		}
	} else if len(names) == 0 {
		return usagef("no image is named")
	}
	var errs []error
	for _, name := range names {
		err := c.removeImage(ctx, name, l.has("force"))
		if errors.Is(err, ErrUnknown) && (l.has("ignore") || l.has("force")) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Command) removeImage(ctx context.Context, name string, force bool) error {
	if !isID(name) {
		if err := checkImage(name); err != nil {
			return err
		}
	}
	removed, err := c.Images.RemoveImage(ctx, name, force)
	if err != nil {
		return err
	}
	for _, untagged := range removed.Untagged {
		fmt.Fprintln(c.Stdout, "Untagged:", c.shown(untagged))
	}
	if removed.Deleted != "" {
		fmt.Fprintln(c.Stdout, "Deleted:", c.digest(removed.Deleted))
	}
	return nil
}

// digest is how the program writes an image's ID.
func (c *Command) digest(id string) string {
	if c.podman() {
		return id
	}
	return "sha256:" + id
}

func (c *Command) load(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" load", "i,input=", "q,quiet platform= signature-policy=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	from := c.Stdin
	if name := l.last("input"); name != "" {
		f, err := os.Open(c.path(name))
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	names, err := c.Images.Load(ctx, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(c.Stdout, "Loaded image:", c.shown(name))
	}
	return nil
}

func (c *Command) save(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" save", "o,output= format= m,multi-image-archive", "q,quiet compress platform= uncompressed")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 {
		return usagef("no image is named")
	}
	format := cmp.Or(l.last("format"), "docker-archive")
	if format != "docker-archive" && format != "oci-archive" {
		return usagef("format %q is not understood; docker-archive and oci-archive are", format)
	}
	return c.output(l.last("output"), func(w io.Writer) error { return c.Images.Save(ctx, l.operands, format, w) })
}

func (c *Command) importTar(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" import", "c,change= m,message= platform= arch= variant=", "q,quiet os= signature-policy=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 || len(l.operands) > 2 {
		return usagef("a tar and at most a name are wanted")
	}
	p, err := c.platform(l)
	if err != nil {
		return err
	}
	job := Import{Message: l.last("message"), Changes: l.all("change"), Arch: p.Arch}
	if len(l.operands) == 2 {
		job.Name = l.operands[1]
		if err := checkImage(job.Name); err != nil {
			return err
		}
	}
	from := c.Stdin
	if name := l.operands[0]; strings.Contains(name, "://") {
		return usagef("%s: only files and - are imported; fetch it before", name)
	} else if name != "-" {
		f, err := os.Open(c.path(name))
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	id, err := c.Images.Import(ctx, from, job)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, "sha256:"+id)
	return err
}

func (c *Command) commit(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" commit", "a,author= c,change= f,format= s,squash iidfile=", "m,message= p,pause q,quiet include-volumes")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 || len(l.operands) > 2 {
		return usagef("a container and at most a name are wanted")
	}
	found, err := c.Containers.Container(l.operands[0])
	if err != nil {
		return err
	}
	job := Commit{Container: found.ID, Author: l.last("author"), Changes: l.all("change"), Squash: l.has("squash")}
	if job.Docker, err = c.dockerFormat(l.last("format")); err != nil {
		return err
	}
	if len(l.operands) == 2 {
		job.Name = l.operands[1]
		if err := checkImage(job.Name); err != nil {
			return err
		}
	}
	id, err := c.Images.Commit(ctx, job)
	if err != nil {
		return err
	}
	if name := l.last("iidfile"); name != "" {
		if err := os.WriteFile(c.path(name), []byte("sha256:"+id), 0o644); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(c.Stdout, c.digest(id))
	return err
}

// dockerFormat reads --format of build and commit.
func (c *Command) dockerFormat(format string) (bool, error) {
	switch format {
	case "":
		return !c.podman(), nil
	case "docker", "v2s2":
		return true, nil
	case "oci":
		return false, nil
	}
	return false, usagef("format %q is not understood; docker and oci are", format)
}

func (c *Command) imageExists(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usagef("one image is wanted")
	}
	_, err := c.Images.Image(ctx, args[0], Platform{})
	if errors.Is(err, ErrUnknown) {
		return exit(1)
	}
	return err
}

// imageRow is one name of an image as images shows it.
type imageRow struct {
	ID, Repository, Tag, Digest, CreatedSince, CreatedAt, Created, Size string

	Names []string
}

func (c *Command) images(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" images", "q,quiet no-trunc format= f,filter= digests", "a,all n,noheading history sort= tree")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	all, err := c.Images.Images(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b Image) int { return b.Created.Compare(a.Created) })
	keep, err := c.imageFilter(l)
	if err != nil {
		return err
	}
	var rows []imageRow
	for _, image := range all {
		for _, r := range c.imageRows(image, l.has("no-trunc")) {
			if keep(image, r) {
				rows = append(rows, r)
			}
		}
	}
	format := l.last("format")
	if l.has("quiet") {
		rows = slices.CompactFunc(rows, func(a, b imageRow) bool { return a.ID == b.ID })
		format = "{{.ID}}"
	}
	columns := []column{{"REPOSITORY", ".Repository"}, {"TAG", ".Tag"}, {"IMAGE ID", ".ID"}, {"CREATED", ".CreatedSince"}, {"SIZE", ".Size"}}
	if l.has("digests") {
		columns = slices.Insert(columns, 2, column{"DIGEST", ".Digest"})
	}
	return table(c, format, columns, rows)
}

func (c *Command) imageRows(image Image, whole bool) []imageRow {
	r := imageRow{
		ID: c.digest(image.ID), Digest: image.Digest, Size: size(image.Size), Names: image.Names,
		CreatedSince: ago(c.Now(), image.Created) + " ago", CreatedAt: image.Created.UTC().Format("2006-01-02 15:04:05 -0700 MST"),
	}
	r.Created = r.CreatedSince
	if !whole {
		r.ID = short(image.ID)
	}
	if len(image.Names) == 0 {
		r.Repository, r.Tag = "<none>", "<none>"
		return []imageRow{r}
	}
	var rows []imageRow
	for _, name := range image.Names {
		r.Repository, r.Tag = splitTag(c.shown(name))
		rows = append(rows, r)
	}
	return rows
}

// imageFilter reads the name and the --filter of images.
func (c *Command) imageFilter(l *line) (func(Image, imageRow) bool, error) {
	references := l.operands
	dangling, labels := "", []string(nil)
	for _, word := range l.all("filter") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "reference":
			references = append(references, value)
		case "dangling":
			dangling = value
		case "label":
			labels = append(labels, value)
		default:
			return nil, usagef("filter %q is not understood; reference, dangling and label are", word)
		}
	}
	return func(image Image, r imageRow) bool {
		if dangling != "" && (dangling == "true") != (len(image.Names) == 0) {
			return false
		}
		for _, label := range labels {
			name, want, valued := strings.Cut(label, "=")
			if have, ok := image.Config.Labels[name]; !ok || valued && have != want {
				return false
			}
		}
		return len(references) == 0 || slices.ContainsFunc(references, func(ref string) bool { return c.refersTo(ref, r) })
	}, nil
}

// refersTo tells whether a pattern, with or without a tag, means a row.
func (c *Command) refersTo(pattern string, r imageRow) bool {
	repository, tag := splitTag(pattern)
	if tag != "<none>" {
		if ok, _ := path.Match(tag, r.Tag); !ok {
			return false
		}
	}
	for _, name := range []string{r.Repository, strings.TrimPrefix(r.Repository, "localhost/"), strings.TrimPrefix(r.Repository, "docker.io/library/"), path.Base(r.Repository)} {
		if ok, _ := path.Match(repository, name); ok {
			return true
		}
	}
	return false
}

// pruneContainers removes containers that do not run.
func (c *Command) pruneContainers(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" container prune", "", "f,force filter=")
	if _, err := g.parse(args); err != nil {
		return err
	}
	all, err := c.Containers.Containers()
	if err != nil {
		return err
	}
	for _, found := range all {
		if found.Status == Running {
			continue
		}
		if err := c.Containers.Remove(ctx, found.ID); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, found.ID)
	}
	return nil
}

// pruneImages removes images without a name, or with -a those that no container
// is made of.
func (c *Command) pruneImages(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" image prune", "a,all", "f,force filter= volumes")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	images, err := c.Images.Images(ctx)
	if err != nil {
		return err
	}
	containers, err := c.Containers.Containers()
	if err != nil {
		return err
	}
	for _, image := range images {
		used := slices.ContainsFunc(containers, func(found Container) bool { return found.Image == image.ID })
		if used || len(image.Names) > 0 && !l.has("all") {
			continue
		}
		if _, err := c.Images.RemoveImage(ctx, image.ID, true); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
		fmt.Fprintln(c.Stdout, c.digest(image.ID))
	}
	return nil
}

func (c *Command) pruneAll(ctx context.Context, args []string) error {
	if err := c.pruneContainers(ctx, slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a != "-f" && a != "--force" })); err != nil {
		return err
	}
	return c.pruneImages(ctx, args)
}
