//go:build containers_image_openpgp

package container

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestRangesOfADirectoryServiceAreAskedFor(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$*\" = '-g maria' ] && printf '0: maria 100000 1000\\n1: maria 300000 65536\\n'\n"
	if err := os.WriteFile(filepath.Join(dir, "getsubids"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	got, err := askRanges("-g", "maria")
	want := []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}, {HostID: 300000, Size: 65536}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := askRanges("pedro"); err == nil {
		t.Error("a user of no range has one")
	}
}

func TestTheCallerIsRootAndTheRangesFollow(t *testing.T) {
	got := below(1000, []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}, {HostID: 300000, Size: 65536}})
	want := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 1000}, {ContainerID: 1001, HostID: 300000, Size: 65536}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
