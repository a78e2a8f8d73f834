//go:build containers_image_openpgp

package main

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	hubs "github.com/google/go-containerregistry/pkg/registry"
)

// troubled is a registry for scripts. Names below some folders have their troubles:
//
//	locked/  wants the login me:secret
//	busy/    is busy when it is first asked for anything
//	shaky/   loses the first connection over which a blob is sent
//	dead/    loses every such connection
//	stuck/   takes no blob, and does not answer
type troubled struct {
	http.Handler
	mu    sync.Mutex
	seen  map[string]int
	stuck chan struct{} // gets something when a client waits
}

// startRegistry gives the address of a registry on this machine.
func startRegistry(t *testing.T) (*troubled, string) {
	t.Helper()
	h := &troubled{Handler: hubs.New(hubs.Logger(log.New(io.Discard, "", 0))), seen: map[string]int{}, stuck: make(chan struct{}, 100)}
	s := httptest.NewServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return h, strings.TrimPrefix(s.URL, "http://")
}

// first tells whether something happens for the first time.
func (h *troubled) first(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[what]++
	return h.seen[what] == 1
}

func (h *troubled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/v2/"), "/", 3)
	sends := r.Method == http.MethodPatch
	switch parts[0] {
	case "locked":
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="locked"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	case "busy":
		if h.first(r.URL.Path) && h.first("busy") {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
	case "shaky", "dead":
		if sends && (parts[0] == "dead" || h.first("shaky")) {
			_, _ = io.CopyN(io.Discard, r.Body, 100)
			panic(http.ErrAbortHandler)
		}
	case "stuck":
		if sends {
			h.stuck <- struct{}{}
			time.Sleep(3 * time.Second)
			panic(http.ErrAbortHandler)
		}
	}
	h.Handler.ServeHTTP(w, r)
}

// An eviction of a pod ends with SIGTERM: a push obeys it at once, names nothing in
// the registry and leaves what it was to push as it is.
func TestATerminatedPushEndsAtOnce(t *testing.T) {
	h, host := startRegistry(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	content := bytes.Repeat([]byte("disk"), 16<<20)
	if err := os.WriteFile(disk, content, 0o644); err != nil {
		t.Fatal(err)
	}
	var story bytes.Buffer
	push := dibber(append(os.Environ(), "HOME="+dir), &story, "push", "-a", "amd64", disk, host+"/stuck/disk:1")
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { push.Process.Kill() })
	select {
	case <-h.stuck:
	case <-time.After(20 * time.Second):
		push.Process.Kill()
		push.Wait()
		t.Fatalf("nothing was sent, so this test can show nothing:\n%s", &story)
	}
	begun := time.Now()
	if err := push.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := push.Wait()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v to end", took)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("it ended with %v:\n%s", err, &story)
	}
	if resp, err := http.Get("http://" + host + "/v2/stuck/disk/manifests/1"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the registry has the name: %v, %v", resp, err)
	}
	if left, err := os.ReadFile(disk); err != nil || !bytes.Equal(left, content) {
		t.Error("the disk is not what it was")
	}
}

func TestOutputsFindTheirPlaces(t *testing.T) {
	for _, c := range []struct {
		types, push, want []string
		fault             string
	}{
		{types: []string{"oci", "qcow2"}, push: []string{"h.io/xx:1"}, want: []string{"oci h.io/xx:1", "qcow2 h.io/xx:1-qcow2"}},
		{types: []string{"qcow2"}, push: []string{"h.io/xx"}, want: []string{"qcow2 h.io/xx:latest"}},
		{types: []string{"qcow2", "tar"}, push: []string{"h.io/xx"}, want: []string{"qcow2 h.io/xx:latest"}},
		{types: []string{"oci", "oci-archive"}, push: []string{"h.io/xx:1"}, want: []string{"oci h.io/xx:1"}},
		{types: []string{"qcow2", "raw"}, push: []string{"h.io/xx:1"}, want: []string{"qcow2 h.io/xx:1-qcow2", "raw h.io/xx:1-raw"}},
		{types: []string{"qcow2", "containerdisk"}, push: []string{"h.io/xx:1"}, want: []string{"qcow2 h.io/xx:1-qcow2", "containerdisk h.io/xx:1"}},
		{types: []string{"oci", "qcow2"}, push: []string{"qcow2=h.io/disk:1"}, want: []string{"qcow2 h.io/disk:1"}},
		{types: []string{"oci", "qcow2"}, push: []string{"qcow2=h.io/disk:1", "h.io/xx:1"}, want: []string{"oci h.io/xx:1", "qcow2 h.io/disk:1"}},
		{types: []string{"oci"}, want: nil},
		{types: []string{"tar"}, push: []string{"h.io/xx:1"}, fault: "none of the outputs"},
		{types: []string{"oci"}, push: []string{"qcow2=h.io/xx:1"}, fault: "no output of type qcow2"},
		{types: []string{"tar"}, push: []string{"tar=h.io/xx:1"}, fault: "no output of type tar to push"},
		{types: []string{"oci"}, push: []string{"h.io/xx:1", "h.io/yy:1"}, fault: "two places"},
		{types: []string{"oci"}, push: []string{"debian:12"}, fault: "says no registry"},
	} {
		flags := pushFlags{targets: c.push}
		targets, err := flags.wanted(c.types)
		if c.fault != "" {
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q to %q: %v", c.types, c.push, err)
			}
			continue
		}
		var got []string
		for _, target := range targets {
			got = append(got, target.kind+" "+target.ref)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q to %q: %q, %v", c.types, c.push, got, err)
		}
	}
}
