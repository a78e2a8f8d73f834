package pypi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// lock keeps other writers out, of this process and of others, until unlock.
func (m *Mirror) lock() (unlock func(), err error) {
	if err := m.root.MkdirAll(partDir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot write to the mirror %s: %w", m.dir, err)
	}
	f, err := m.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the mirror %s: %w", m.dir, err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the mirror %s: %w", m.dir, err)
	}
	return func() { f.Close() }, nil
}

// incoming is a file on its way into the mirror. It is locked while its writer
// lives, so that others can tell what a dead one left.
type incoming struct {
	*os.File
	name string
}

// newIncoming makes a file that no page names yet.
func (m *Mirror) newIncoming() (*incoming, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return m.newPart()
}

func (m *Mirror) newPart() (*incoming, error) {
	for n := 0; ; n++ {
		name := path.Join(partDir, strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(n))
		f, err := m.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
				return &incoming{f, name}, nil
			}
			f.Close()
		}
		return nil, fmt.Errorf("cannot write to the mirror %s: %w", m.dir, err)
	}
}

// discard removes what was not kept; what was kept is no longer under that name.
func (m *Mirror) discard(in *incoming) {
	m.root.Remove(in.name)
	in.Close()
}

// leftovers lists the files on their way whose writer is dead. The mirror is locked.
func (m *Mirror) leftovers() ([]string, error) {
	entries, err := fs.ReadDir(m.root.FS(), partDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, e := range entries {
		name := path.Join(partDir, e.Name())
		f, err := m.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			dead = append(dead, name)
		}
		f.Close()
	}
	return dead, nil
}

// Tidy brings in order what a killed writer left: files on their way go, and
// pages are made anew of what is believed.
func (m *Mirror) Tidy() error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	dead, err := m.leftovers()
	if err != nil {
		return fmt.Errorf("cannot tidy the mirror %s: %w", m.dir, err)
	}
	for _, name := range dead {
		m.root.Remove(name)
	}
	names, err := m.Projects()
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := m.root.Stat(path.Join(name, pageJSON)); err != nil {
			continue // made by others: left as it is
		}
		p, err := m.Project(name)
		if err != nil {
			return fmt.Errorf("%w (dibber pypi verify --repair makes it anew)", err)
		}
		if err := m.writeIfOther(path.Join(name, pageHTML), p.ToHTML()); err != nil {
			return err
		}
	}
	return m.writeRoot()
}

func (m *Mirror) writeRoot() error {
	names, err := m.Projects()
	if err != nil {
		return err
	}
	return m.writeIfOther(pageHTML, index.RootHTML(names))
}

func (m *Mirror) writeIfOther(name string, text []byte) error {
	if old, err := m.root.ReadFile(name); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return m.write(name, text)
}

// write makes a small file that appears whole. The mirror is locked.
func (m *Mirror) write(name string, text []byte) error {
	in, err := m.newPart()
	if err != nil {
		return err
	}
	defer m.discard(in)
	if _, err = in.Write(text); err == nil {
		err = m.place(in, name)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", filepath.Join(m.dir, name), err)
	}
	return nil
}

// place gives a file its name for good.
func (m *Mirror) place(in *incoming, name string) error {
	if err := in.Sync(); err != nil {
		return err
	}
	if err := m.step("before " + name); err != nil {
		return err
	}
	if err := m.root.Rename(in.name, name); err != nil {
		return err
	}
	d, err := m.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close(), m.step("after "+name))
}

func (m *Mirror) step(name string) error {
	if m.pause == nil {
		return nil
	}
	return m.pause(name)
}

// keep makes a file that came whole and right one of the mirror: its METADATA,
// the file, then the pages. It gives the file as the pages have it. A file whose
// hash nobody promised must be one that can be read.
func (m *Mirror) keep(project string, in *incoming, f index.File, promised bool) (index.File, error) {
	text, err := describe(in.File, project, &f)
	if f.Metadata = err == nil && text != nil; promised {
		err = nil // it is what its maker made, though nobody can read it
	}
	if err != nil {
		return f, fmt.Errorf("cannot keep %s: %w", f.Name, err)
	}
	unlock, err := m.lock()
	if err != nil {
		return f, err
	}
	defer unlock()
	p, err := m.forUpdate(project)
	if err != nil {
		return f, err
	}
	if err := m.root.Mkdir(project, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return f, fmt.Errorf("cannot write to the mirror %s: %w", m.dir, err)
	}
	file := path.Join(project, f.Name)
	if f.Metadata {
		if err := m.write(file+metadata, text); err != nil {
			return f, err
		}
	}
	if err := m.place(in, file); err != nil {
		return f, fmt.Errorf("cannot keep %s: %w", filepath.Join(m.dir, file), err)
	}
	put(p, f)
	return f, m.writePages(p)
}

func (m *Mirror) writePages(p *index.Project) error {
	for _, err := range []error{
		m.writeIfOther(path.Join(p.Name, pageJSON), p.ToJSON()),
		m.writeIfOther(path.Join(p.Name, pageHTML), p.ToHTML()),
		m.writeRoot(),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// forUpdate gives what is kept of a project, or refuses a page that others made
// and that would lose something.
func (m *Mirror) forUpdate(project string) (*index.Project, error) {
	p, err := m.Project(project)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return &index.Project{Name: project}, nil
	}
	slices.SortFunc(p.Files, func(a, b index.File) int { return cmp.Compare(a.Name, b.Name) })
	if _, err := m.root.Stat(path.Join(project, pageJSON)); err == nil {
		return p, nil
	}
	name := path.Join(project, pageHTML)
	text, err := m.readPage(name)
	if err != nil {
		return nil, err
	}
	whole, err := index.ParseHTML(text, pageBase(project), project)
	if err != nil || len(whole.Files) != len(p.Files) {
		return nil, fmt.Errorf("cannot change %s: another program made it, and it names files elsewhere", filepath.Join(m.dir, name))
	}
	return p, nil
}

// describe completes what is known of a file from the file itself, and gives the
// METADATA of a wheel.
func describe(r *os.File, project string, f *index.File) ([]byte, error) {
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	f.Size, f.URL = info.Size(), addressOf(f.Name)
	f.Metadata, f.MetadataHashes = false, nil
	n, err := dist.ParseName(f.Name, project)
	if err != nil {
		return nil, err
	}
	if !n.Wheel {
		_, err := dist.ReadSource(r, info.Size(), n)
		if errors.Is(err, dist.ErrNoMetadata) {
			err = nil
		}
		return nil, err
	}
	text, err := dist.WheelMetadata(r, info.Size(), n)
	if err != nil {
		return nil, err
	}
	d, err := dist.ReadMetadata(text, n)
	if err != nil {
		return nil, err
	}
	if f.RequiresPython == "" {
		f.RequiresPython = d.RequiresPython
	}
	f.MetadataHashes = map[string]string{"sha256": digest(text)}
	return text, nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// stamp is how a file looked when its hash was right.
type stamp struct {
	ino, size    uint64
	mtime, ctime unix.Timespec
	sha256       string
}

func stampOf(f *os.File, sha256 string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}, errors.New("it is no file")
	}
	return stamp{st.Ino, uint64(st.Size), st.Mtim, st.Ctim, sha256}, nil
}

// DamagedError tells that a file of the mirror is not what it was.
type DamagedError struct {
	Path string
	What string
}

func (e *DamagedError) Error() string { return e.Path + " is damaged: " + e.What }

// open opens a kept file whose hash is right. A file that looks as it did when
// it was last right is not read again. Other errors are *DamagedError.
func (m *Mirror) open(project string, f index.File) (*os.File, error) {
	name := path.Join(project, f.Name)
	shown := filepath.Join(m.dir, name)
	file, err := m.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &DamagedError{shown, "it is gone"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", shown, err)
	}
	now, err := stampOf(file, f.SHA256())
	if err != nil {
		file.Close()
		return nil, &DamagedError{shown, err.Error()}
	}
	m.mu.Lock()
	before, known := m.checked[name]
	m.mu.Unlock()
	if known && before == now {
		return file, nil
	}
	if err := checkContent(file, f, shown); err != nil {
		file.Close()
		return nil, err
	}
	m.mu.Lock()
	m.checked[name] = now
	m.mu.Unlock()
	return file, nil
}

func checkContent(file *os.File, f index.File, shown string) error {
	kind := best(f.Hashes)
	if kind == "" {
		return nil // a page of others that tells no hash
	}
	h := newHash(kind)
	n, err := io.Copy(h, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", shown, err)
	}
	if f.Size > 0 && n != f.Size {
		return &DamagedError{shown, fmt.Sprintf("%d bytes, not %d", n, f.Size)}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.Hashes[kind] {
		return &DamagedError{shown, fmt.Sprintf("its %s is %s, not %s", kind, got, f.Hashes[kind])}
	}
	return nil
}
