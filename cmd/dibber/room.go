//go:build containers_image_openpgp

package main

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/dibber-project/dibber/pkg/build"
)

// roomHints tell what to do where an error says that there was no room. A build's
// own error has what was free at that moment; for others it is looked up.
func roomHints(err error) []string {
	var full *build.FullError
	told := errors.As(err, &full)
	if !told && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	hints := []string{"make room, or put containers elsewhere with XDG_DATA_HOME, downloads with --image-cache, temporary files with TMPDIR and outputs with -o"}
	if inPod() {
		hints = append(hints, "in a pod, give the volume more: sizeLimit of an emptyDir and limits of ephemeral-storage, or a claim; a Debian machine takes some 3 GB while it is built")
	}
	if told {
		return hints
	}
	return append(hints, one(room())...)
}

// room tells what is free on each of the file systems that dibber works on, or
// nothing.
func room() string {
	d, err := userDirs()
	if err != nil {
		return ""
	}
	var told []string
	for _, s := range build.Spaces(d.data, d.cache, os.TempDir(), ".") {
		told = append(told, s.String())
	}
	if told == nil {
		return ""
	}
	return "now " + strings.Join(told, ", ")
}

// inPod tells whether Kubernetes has set its variables.
func inPod() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
