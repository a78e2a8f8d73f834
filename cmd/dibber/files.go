//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/unpack"
)

// pathHelp explains paths in an image.
const pathHelp = `A path is one of the machine: its file systems are joined as its /etc/fstab says.
VOLUME:PATH reads one volume alone (p1:/EFI, vg/data:/srv); dibber inspect lists
the volumes. On a FAT, upper and lower case are the same.
IMAGE is a disk image or a tar in a file, or what dibber convert reads: oci:DIR,
oci-archive:FILE, docker-archive:FILE, docker://IMAGE, containers-storage:IMAGE,
dir:DIR.`

func (a *app) lsCommand() *cobra.Command {
	var o imageFlags
	var l lister
	cmd := &cobra.Command{
		Use:   "ls [flags] IMAGE [PATH]",
		Short: "List files of an image, without mounting it",
		Example: `  dibber ls debian.qcow2 /etc
  dibber ls -lR debian.qcow2 p1:/EFI
  dibber ls oci:debian.oci /etc`,
		Long: pathHelp,
		Args: argsBetween(1, 2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFiles(cmd.Context(), &o, args[0], func(image files) error {
				source, place, err := image.Find(pathOr(args, "/"))
				if err != nil {
					return err
				}
				return l.list(a.stdout, source, place)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&l.long, "long", "l", false, "mode, links, owner, size and time too")
	f.BoolVarP(&l.recursive, "recursive", "R", false, "whole paths of all that is below")
	f.BoolVar(&l.json, "json", false, "one JSON object a line")
	o.addTo(f)
	return cmd
}

func (a *app) catCommand() *cobra.Command {
	var o imageFlags
	cmd := &cobra.Command{
		Use:     "cat [flags] IMAGE PATH",
		Short:   "Print a file of an image, without mounting it",
		Example: `  dibber cat debian.qcow2 /etc/os-release`,
		Long:    pathHelp + "\nSymbolic links are followed inside the image.",
		Args:    exactArgs(2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFiles(cmd.Context(), &o, args[0], func(image files) error {
				return a.cat(cmd.Context(), image, args[1])
			})
		},
	}
	o.addTo(cmd.Flags())
	return cmd
}

func (a *app) cat(ctx context.Context, image files, name string) error {
	source, place, err := image.Find(name)
	if err == nil {
		place, err = tree.Resolve(source, place.Path)
	}
	if err != nil {
		return err
	}
	if place.Inode.Type() != tree.TypeRegular {
		return fmt.Errorf("cannot print %s: it is a %s", name, kindOf(place.Inode))
	}
	_, err = io.Copy(a.stdout, untilDone{ctx, place.Inode.Reader()})
	return err
}

// untilDone is a reader that refuses once ctx has ended.
type untilDone struct {
	ctx context.Context
	io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

func (a *app) extractCommand() *cobra.Command {
	var o imageFlags
	var to string
	cmd := &cobra.Command{
		Use:   "extract [flags] IMAGE PATH",
		Short: "Copy files out of an image, without mounting it",
		Example: `  dibber extract debian.qcow2 /etc/ssh                # the directory ssh, here
  dibber extract -o etc debian.qcow2 /etc/ssh         # as etc/ssh; etc must be there
  dibber extract -o etc.tar debian.qcow2 /etc         # with owners and attributes
  dibber extract -o - debian.qcow2 / | tar -t`,
		Long: pathHelp + `
Root gets owners, extended attributes and devices too; everybody does in a tar.
Nothing that is there is replaced, but for the tar.`,
		Args: exactArgs(2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFiles(cmd.Context(), &o, args[0], func(image files) error {
				source, place, err := image.Find(args[1])
				if err != nil {
					return err
				}
				return a.extract(cmd.Context(), source, place, to)
			})
		},
	}
	cmd.Flags().StringVarP(&to, "output", "o", ".", "a directory, a file that ends in .tar, or - for a tar on stdout")
	o.addTo(cmd.Flags())
	return cmd
}

func (a *app) extract(ctx context.Context, source tree.Source, place tree.Place, to string) error {
	t, err := loadAt(source, place)
	if err != nil {
		return err
	}
	if to == "-" {
		return tarfile.Write(ctx, a.stdout, t, tarfile.Options{})
	}
	if strings.HasSuffix(to, ".tar") {
		f, err := artifact.Create(to)
		if err != nil {
			return err
		}
		defer f.Discard()
		if err := tarfile.Write(ctx, f, t, tarfile.Options{}); err != nil {
			return err
		}
		return f.Commit()
	}
	if kept := leftOut(t); kept != "" && os.Geteuid() != 0 {
		fmt.Fprintln(a.stderr, "warning: left out "+kept+", which only root can give; -o files.tar keeps them")
	}
	err = unpack.Dir(ctx, to, t, unpack.Options{
		Owners: os.Geteuid() == 0,
		Note:   func(path, reason string) { fmt.Fprintln(a.stderr, "warning: left out "+printable(path)+": "+reason) },
	})
	if errors.Is(err, fs.ErrExist) {
		return &usageError{err: err, hint: "choose an empty directory with -o, or -o files.tar"}
	}
	return err
}

// leftOut names what only root can give to the files of a tree.
func leftOut(t *tree.Tree) string {
	owners, bits, attributes := 0, 0, 0
	_ = t.Walk(func(path string, n *tree.Node) error {
		if i := n.Inode; path != "/" {
			owners += count(int(i.UID) != os.Getuid() || int(i.GID) != os.Getgid())
			bits += count(i.Mode&(unix.S_ISUID|unix.S_ISGID) != 0)
			attributes += count(len(i.Xattrs) > 0)
		}
		return nil
	})
	var all []string
	for _, c := range []struct {
		n    int
		what string
	}{{owners, "owners"}, {bits, "set-id bits"}, {attributes, "extended attributes"}} {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%s (of %d files)", c.what, c.n))
		}
	}
	return strings.Join(all, ", ")
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// loadAt gives a tree that holds what is at a place under its own name, or all
// of a root directory.
func loadAt(s tree.Source, place tree.Place) (*tree.Tree, error) {
	if !place.Inode.IsDir() {
		return &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755},
			Children: []*tree.Node{{Name: path.Base(place.Path), Inode: place.Inode}}}}, nil
	}
	t, err := tree.Load(s, place.Number, 0)
	if err != nil || place.Path == "/" {
		return t, err
	}
	t.Root.Name = path.Base(place.Path)
	return &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}, Children: []*tree.Node{t.Root}}}, nil
}

// lister lists a directory or a single file.
type lister struct {
	long, recursive, json bool
}

// listed is one line of a listing.
type listed struct {
	Path   string `json:"path"`
	Type   string `json:"type"`
	Mode   string `json:"mode"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"`
	Time   string `json:"time"`
	Target string `json:"target,omitempty"`
	Device string `json:"device,omitempty"`
	// RawPath and RawTarget are the bytes of names that are not UTF-8, in base64.
	RawPath   []byte `json:"raw_path,omitempty"`
	RawTarget []byte `json:"raw_target,omitempty"`
}

func (l lister) list(w io.Writer, s tree.Source, place tree.Place) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.AlignRight)
	show := func(name string, i *tree.Inode) error { return l.line(w, table, name, i) }
	var faults []error
	switch {
	case !place.Inode.IsDir():
		if err := show(place.Path, place.Inode); err != nil {
			return err
		}
	case l.recursive:
		t, err := tree.Load(s, place.Number, 0)
		if err != nil {
			return err
		}
		err = t.Walk(func(p string, n *tree.Node) error { return show(path.Join(place.Path, p), n.Inode) })
		if err != nil {
			return err
		}
	default:
		entries, err := s.Entries(place.Number)
		if err != nil {
			return err
		}
		slices.SortFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
		for _, e := range entries {
			i, err := s.Inode(e.Number)
			if err != nil { // the others may be readable
				faults = append(faults, fmt.Errorf("reading %s: %w", path.Join(place.Path, e.Name), err))
				continue
			}
			if err := show(e.Name, i); err != nil {
				return err
			}
		}
	}
	return errors.Join(table.Flush(), unreadable(faults))
}

// unreadable is the first of several errors, with their number.
func unreadable(faults []error) error {
	if len(faults) > 1 {
		return fmt.Errorf("%w (and %d more)", faults[0], len(faults)-1)
	}
	return errors.Join(faults...)
}

// line writes one entry: long ones go through the table, so that they line up.
func (l lister) line(w io.Writer, table io.Writer, name string, i *tree.Inode) error {
	switch {
	case l.json:
		text, err := json.Marshal(describeInode(name, i))
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", text)
		}
		return err
	case !l.long:
		_, err := fmt.Fprintln(w, onOneLine(name))
		return err
	}
	d := describeInode(name, i)
	text := onOneLine(name)
	if d.Target != "" {
		text += " -> " + onOneLine(d.Target)
	}
	size := fmt.Sprint(d.Size)
	if d.Device != "" {
		size = d.Device
	}
	_, err := fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t %s\n", d.Mode, d.UID, d.GID, size, d.Time, text)
	return err
}

// onOneLine shows text of an image as it is, or quoted where it would break the
// line, drive a terminal or look like something else.
func onOneLine(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", name)
	}
	return name
}

func describeInode(name string, i *tree.Inode) listed {
	d := listed{Path: name, Type: kindOf(i), Mode: modeString(i.Mode), UID: i.UID, GID: i.GID, Size: i.Size,
		Time: time.Unix(i.Mtime, 0).UTC().Format("2006-01-02T15:04:05Z"), Target: i.Target}
	if t := i.Type(); t == tree.TypeChar || t == tree.TypeBlock {
		d.Device = fmt.Sprintf("%d,%d", i.Major, i.Minor)
	}
	if !utf8.ValidString(name) {
		d.RawPath = []byte(name)
	}
	if !utf8.ValidString(i.Target) {
		d.RawTarget = []byte(i.Target)
	}
	return d
}

func kindOf(i *tree.Inode) string {
	switch i.Type() {
	case tree.TypeDir:
		return "directory"
	case tree.TypeRegular:
		return "file"
	case tree.TypeSymlink:
		return "symlink"
	case tree.TypeFIFO:
		return "fifo"
	case tree.TypeChar:
		return "character device"
	case tree.TypeBlock:
		return "block device"
	}
	return "socket"
}

// modeString writes a mode as ls does.
func modeString(mode uint32) string {
	kinds := map[uint32]byte{tree.TypeDir: 'd', tree.TypeRegular: '-', tree.TypeSymlink: 'l', tree.TypeFIFO: 'p', tree.TypeChar: 'c', tree.TypeBlock: 'b'}
	b := []byte("?rwxrwxrwx")
	if k := kinds[mode&tree.TypeMask]; k != 0 {
		b[0] = k
	}
	for bit := range 9 {
		if mode&(1<<(8-bit)) == 0 {
			b[bit+1] = '-'
		}
	}
	special := func(bit uint32, at int, set, unset byte) {
		if mode&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = set
		} else {
			b[at] = unset
		}
	}
	special(unix.S_ISUID, 3, 's', 'S')
	special(unix.S_ISGID, 6, 's', 'S')
	special(unix.S_ISVTX, 9, 't', 'T')
	return string(b)
}

func pathOr(args []string, usual string) string {
	if len(args) > 1 {
		return args[1]
	}
	return usual
}

// argsBetween is exactArgs for a range.
func argsBetween(least, most int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return &usageError{err: fmt.Errorf("%s takes %s", cmd.CommandPath(), want), hint: cmd.CommandPath() + " --help shows examples"}
	}
}
