package pypi

import (
	"path/filepath"
	"testing"
)

func TestCommentsInNetrcAreNoPasswords(t *testing.T) {
	users := parseNetrc("# machine a login no password no\nmachine a login me password new#1\n  #machine a login me password old\nmachine b password only\n")
	for host, want := range map[string]string{"a": "me:new%231", "b": ":only"} {
		if got := users[host].String(); got != want {
			t.Errorf("%s: %s, not %s", host, got, want)
		}
	}
}

func TestADirectoryMayBeCalledAnything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "50% a:b #1?")
	mirror := openMirror(t, dir)
	if s := source(t, dir); s.String() != mirror.Dir() {
		t.Error(s)
	}
}
