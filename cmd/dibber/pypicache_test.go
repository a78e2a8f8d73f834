//go:build containers_image_openpgp

package main

import (
	"slices"
	"testing"
)

func TestMirrorsAreKnownByTheirVariables(t *testing.T) {
	for environ, want := range map[string]string{
		"DIB_PYPI_MIRROR_URL=http://m":    "DIB_PYPI_MIRROR_URL",
		"DIB_PYPI_MIRROR_URL_10=http://m": "DIB_PYPI_MIRROR_URL_10",
		"PYPI_MIRROR_URL=http://m":        "PYPI_MIRROR_URL",
		"DIB_PYPI_MIRROR_URL=":            "",
		"MY_PYPI_MIRROR_URL=http://m":     "",
	} {
		if got := namedPypiMirror([]string{"HOME=/root", environ}); got != want {
			t.Errorf("%s: %q", environ, got)
		}
	}
}

func TestLoopbackIsReachedWithoutTheProxy(t *testing.T) {
	for _, c := range []struct{ environ, want []string }{
		{[]string{"HOME=/root", "no_proxy=site"}, nil},
		{[]string{"http_proxy=http://p"}, []string{"no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1"}},
		{[]string{"HTTPS_PROXY=http://p", "no_proxy=site"}, []string{"no_proxy=site,127.0.0.1", "NO_PROXY=site,127.0.0.1"}},
	} {
		if got := withoutProxy(c.environ, "127.0.0.1"); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.environ, got, c.want)
		}
	}
}
