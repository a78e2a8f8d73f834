package hook

import (
	_ "embed" // the runner is a script
	"errors"
	"fmt"
	"io/fs"
	"os"
)

//go:embed dib-run-parts
var script string

// scriptName is the name under which the runner lies beside the hooks.
const scriptName = "dib-run-parts"

// Script is the text of dib-run-parts, a bash script. It needs bash 4, find,
// grep, sort and date where it runs.
func Script() string { return script }

// Install writes dib-run-parts into dir, over whatever an element put there.
func Install(dir string) error {
	if err := install(dir); err != nil {
		return fmt.Errorf("cannot install %s: %w", scriptName, err)
	}
	return nil
}

func install(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(scriptName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(scriptName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = f.WriteString(script)
	return errors.Join(err, f.Chmod(0o755), f.Close())
}
