//go:build containers_image_openpgp

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/pypi"
)

const (
	// pypiCacheVariable stands for --pypi-cache, for the commands of
	// diskimage-builder too.
	pypiCacheVariable = "DIBBER_PYPI_CACHE"
	// pypiUpstreamVariable names the indexes behind the cache, separated by blanks.
	pypiUpstreamVariable = "DIBBER_PYPI_UPSTREAM"
)

// pypiCache runs an index that keeps what it passes on in the mirror directory, and
// has the element pypi use it, if that is wanted. Offline the directory alone serves.
// The caller calls end when the build has ended.
func (a *app) pypiCache(ctx context.Context, o *options, job *build.Job) (end func(), err error) {
	nothing := func() {}
	named := namedPypiMirror(job.Environ)
	switch {
	case !o.pypiCache && (!isOn(pypiCacheVariable) || named != ""):
		return nothing, nil
	case named != "":
		return nil, &usageError{
			err:  fmt.Errorf("cannot run --pypi-cache beside the mirror that %s names", named),
			hint: "unset " + named + ", or put the cache in front of that index with " + pypiUpstreamVariable,
		}
	}
	mirror := filepath.Join(job.ImageCache, "pypi", "mirror")
	if job.Offline {
		if err := pypi.CheckMirror(mirror); err != nil {
			return nil, mirrorFault(fmt.Errorf("cannot build offline from the cache of PyPI: %w", err))
		}
		return nothing, nil
	}
	server, err := a.pypiServer(pypiServeOptions{
		pypiPlace: pypiPlace{
			dir: mirror, upstreams: strings.Fields(os.Getenv(pypiUpstreamVariable)),
			maxFile: pypi.DefaultMaxFile, timeout: 30 * time.Second,
		},
		maxAge: time.Minute, // within one build, an index hardly changes
		log:    func(line string) { fmt.Fprintln(job.Log, "pypi cache:", line) },
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot run the cache of PyPI: %w", err)
	}
	// The cache asks the index itself. Were hooks to ask it too, not all of what
	// they install would be kept.
	job.Environ = append(job.Environ, "DIB_PYPI_MIRROR_URL=http://"+l.Addr().String()+"/simple", "DIB_NO_PYPI_PIP=yes")
	job.Environ = append(job.Environ, withoutProxy(job.Environ, "127.0.0.1")...)
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	return func() {
		cancel()
		if err := <-served; err != nil {
			fmt.Fprintln(job.Log, "pypi cache:", err)
		}
	}, nil
}

var pypiMirrorVariable = regexp.MustCompile(`^(DIB_)?PYPI_MIRROR_URL(_.*)?$`)

// namedPypiMirror is the first variable that names a mirror, "" if none does.
func namedPypiMirror(environ []string) string {
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); value != "" && pypiMirrorVariable.MatchString(name) {
			return name
		}
	}
	return ""
}

// withoutProxy gives the variables by which programs that are told of a proxy reach
// the host without it.
func withoutProxy(environ []string, host string) []string {
	direct := map[string]string{}
	proxied := false
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case strings.EqualFold(name, "no_proxy"):
			direct[name] = value
		case strings.HasSuffix(strings.ToLower(name), "_proxy") && value != "":
			proxied = true
		}
	}
	if !proxied {
		return nil
	}
	var out []string
	for _, name := range []string{"no_proxy", "NO_PROXY"} {
		out = append(out, name+"="+strings.TrimPrefix(first(direct[name], direct["no_proxy"], direct["NO_PROXY"])+","+host, ","))
	}
	return out
}
