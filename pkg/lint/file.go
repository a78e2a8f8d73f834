package lint

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxFileBytes bounds a file that is looked into. maxFiles bounds the files of
// one element.
const (
	maxFileBytes = 16 << 20
	maxFiles     = 1 << 17
)

// file is one regular file of an element.
type file struct {
	source   Source
	path     string // as the user is to read it
	rel      string // below the element, separated by slashes
	mode     fs.FileMode
	data     []byte
	disabled map[string]bool // checks
}

// read gives the regular files of an element in the order of their names. Links
// are not followed.
func (l *linter) read(e Source) ([]*file, error) {
	dir, err := filepath.EvalSymlinks(e.Dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var files []*file
	err = fs.WalkDir(root.FS(), ".", func(rel string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "__pycache__" || d.Name() == ".git"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return l.ctx.Err()
		case len(files) == maxFiles:
			return fmt.Errorf("more than %d files", maxFiles)
		}
		f, err := l.open(root, e, rel)
		if f != nil {
			files = append(files, f)
		}
		return err
	})
	return files, err
}

// open reads one file. One that is too large is told and left out.
func (l *linter) open(root *os.Root, e Source, rel string) (*file, error) {
	in, err := root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	f := &file{source: e, path: filepath.Join(e.Dir, filepath.FromSlash(rel)), rel: rel, mode: info.Mode()}
	if f.data, err = io.ReadAll(io.LimitReader(in, maxFileBytes+1)); err != nil {
		return nil, err
	}
	if len(f.data) > maxFileBytes {
		l.addAt(e, Warning, "large", rel, "larger than %d MiB and not looked into", maxFileBytes>>20)
		return nil, nil
	}
	f.disabled = disabled(f.data)
	return f, nil
}

func (f *file) name() string     { return path.Base(f.rel) }
func (f *file) executable() bool { return f.mode&0o111 != 0 }

// top is the directory of the element that the file lies in, or "".
func (f *file) top() string {
	top, _, below := strings.Cut(f.rel, "/")
	if !below {
		return ""
	}
	return top
}

// binary tells whether the file is no text: it has a zero byte near its start.
func (f *file) binary() bool {
	return bytes.IndexByte(f.data[:min(len(f.data), 8000)], 0) >= 0
}

func (f *file) firstLine() string {
	line, _, _ := bytes.Cut(f.data, []byte("\n"))
	return string(line[:min(len(line), 4096)])
}

func (f *file) hasShebang() bool { return strings.HasPrefix(f.firstLine(), "#!") }

// interpreter names the program of the first line without its directory:
// "bash" of "#!/usr/bin/env bash".
func (f *file) interpreter() string {
	line, ok := strings.CutPrefix(f.firstLine(), "#!")
	words := strings.Fields(line)
	if !ok || len(words) == 0 {
		return ""
	}
	name := path.Base(words[0])
	for _, w := range words[1:] {
		if name == "env" && !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return path.Base(w)
		}
	}
	return name
}

func (f *file) isPython() bool {
	return strings.Contains(f.firstLine(), "python") && f.hasShebang()
}

// isShell tells whether bash reads the file: by its first line, or because it
// lies where bash reads everything.
func (f *file) isShell() bool {
	switch f.interpreter() {
	case "sh", "bash", "dash", "ash", "ksh":
		return true
	case "":
		return !f.binary() && (f.top() == "environment.d" || isPhaseDir(f.top()) && path.Dir(f.rel) == f.top() && f.executable())
	}
	return false
}

// lines gives the lines of the file without their ends. What follows the last
// newline is a line if it is not empty.
func (f *file) lines() []string {
	text := strings.TrimSuffix(string(f.data), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
