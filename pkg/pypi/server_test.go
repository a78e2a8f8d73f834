package pypi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// get asks a server, with headers in pairs.
func get(t *testing.T, method, address string, headers ...string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}

func wants(t *testing.T, status int, address string, headers ...string) string {
	t.Helper()
	answer, text, err := get(t, http.MethodGet, address, headers...)
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	if answer.StatusCode != status {
		t.Fatalf("%s: status %d, not %d: %s", address, answer.StatusCode, status, text)
	}
	return text
}

func TestWhatWasAskedOnceIsServedWithoutTheUpstream(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	up := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf, wheelName("leaf", "1.1"): wheel(t, "leaf", "1.1")})
	dir := t.TempDir()
	base, _ := serve(t, dir, 0, up.URL+"/simple")
	if page := wants(t, 200, base+"/simple/leaf/"); !strings.Contains(page, "leaf-1.1-py3") {
		t.Fatal(page)
	}
	if got := wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0")); got != string(leaf) {
		t.Fatal("another file came")
	}
	wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
	if n := up.count("/files/" + wheelName("leaf", "1.0")); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	up.Close()
	page := wants(t, 200, base+"/leaf/")
	if strings.Contains(page, "leaf-1.1") || !strings.Contains(page, "leaf-1.0-py3-none-any.whl#sha256="+sum(leaf)) {
		t.Errorf("without the upstream the page is %s", page)
	}
	again, log := serve(t, dir, 0, up.URL+"/simple") // as after a restart
	wants(t, 200, again+"/simple/leaf/"+wheelName("leaf", "1.0"))
	wants(t, 200, again+"/simple/leaf/")
	if !strings.Contains(log.String(), "what is kept is served") {
		t.Errorf("the log is silent: %s", log)
	}
	if text := wants(t, 502, again+"/simple/other/"); !strings.Contains(text, "cannot be asked for other") {
		t.Error(text)
	}
	offline, _ := serve(t, dir, 0)
	wants(t, 200, offline+"/simple/leaf/"+wheelName("leaf", "1.0")+".metadata")
	if text := wants(t, 404, offline+"/simple/other/"); !strings.Contains(text, "offline") {
		t.Error(text)
	}
	wants(t, 404, offline+"/simple/leaf/"+wheelName("leaf", "1.1"))
}

func TestPagesComeInTheTypeThatIsWanted(t *testing.T) {
	dir := directoryOf(t, map[string][]byte{wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0")})
	base, _ := serve(t, t.TempDir(), 0, dir)
	for accept, want := range map[string]string{
		"": "text/html; charset=utf-8", "*/*": "text/html; charset=utf-8", "text/html": "text/html; charset=utf-8",
		"text/*;q=0.3, " + index.JSON + ";q=0.2":                      "text/html; charset=utf-8",
		index.JSON:                                                    index.JSON,
		"application/vnd.pypi.simple.latest+json":                     index.JSON,
		index.JSON + ", " + index.HTML + "; q=0.1, text/html; q=0.01": index.JSON,
		index.HTML + ", text/html;q=0.5":                              index.HTML,
		"application/*":                                               index.HTML,
	} {
		answer, text, err := get(t, http.MethodGet, base+"/simple/leaf/", "Accept", accept)
		if err != nil || answer.Header.Get("Content-Type") != want {
			t.Errorf("%q: %s %v", accept, answer.Header.Get("Content-Type"), err)
		}
		if (want == index.JSON) != strings.HasPrefix(text, "{") {
			t.Errorf("%q: %s", accept, text)
		}
	}
	wants(t, 406, base+"/simple/leaf/", "Accept", "image/png")
	wants(t, 406, base+"/simple/leaf/", "Accept", index.JSON+";q=0")
	if text := wants(t, 200, base+"/simple/leaf/?format="+url.QueryEscape(index.JSON)); !strings.Contains(text, `"api-version": "1.1"`) {
		t.Error(text)
	}
}

func TestFilesAnswerHeadsRangesAndTags(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	up := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf})
	base, _ := serve(t, t.TempDir(), 0, up.URL+"/simple")
	at := base + "/simple/leaf/" + wheelName("leaf", "1.0")
	answer, _, err := get(t, http.MethodHead, at)
	if err != nil || answer.ContentLength != int64(len(leaf)) || answer.Header.Get("ETag") != `"`+sum(leaf)+`"` {
		t.Errorf("HEAD before it is kept: %v %v", answer, err)
	}
	if up.count("/files/"+wheelName("leaf", "1.0")) != 0 {
		t.Error("HEAD fetched the file")
	}
	for range 2 { // while it comes, and when it is kept
		answer, text, err := get(t, http.MethodGet, at, "Range", "bytes=-10")
		if err != nil || answer.StatusCode != 206 || text != string(leaf[len(leaf)-10:]) {
			t.Errorf("range: %v %v", answer, err)
		}
	}
	if answer, _, _ := get(t, http.MethodGet, at, "If-None-Match", `"`+sum(leaf)+`"`); answer.StatusCode != 304 {
		t.Error(answer.Status)
	}
	wants(t, 416, at, "Range", "bytes=99999999-")
	page, _, _ := get(t, http.MethodGet, base+"/simple/leaf/")
	if answer, _, _ := get(t, http.MethodGet, base+"/simple/leaf/", "If-None-Match", page.Header.Get("ETag")); answer.StatusCode != 304 {
		t.Error(answer.Status)
	}
}

func TestPlacesOutsideAreRefused(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "mirror")
	if err := os.WriteFile(filepath.Join(parent, "secret-1.0.tar.gz"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	base, _ := serve(t, dir, 0)
	host := strings.TrimPrefix(base, "http://")
	for _, path := range []string{
		"/../secret-1.0.tar.gz", "/simple/../../secret-1.0.tar.gz", "/simple/..%2fsecret-1.0.tar.gz", "/simple/%2e%2e/secret-1.0.tar.gz",
		"/simple/leaf/..%2f..%2fsecret-1.0.tar.gz", "/simple/leaf/%2e%2e%2fsecret-1.0.tar.gz", "//etc/passwd", "/simple//etc/passwd", "/simple/leaf/%00",
		"/simple/leaf/a%00.whl", "/simple/leaf/a/b.whl", "/.dibber/lock", "/simple/.dibber/part", "/simple/leaf/index.json", "/simple/leaf/index.html",
		"/simple/leaf/..", "/simple/-x/", "/simple/x-/", "/simple/" + strings.Repeat("a", 300) + "/", `/simple/..\..\secret-1.0.tar.gz`,
		"/simple/leaf/%zz", "/simple/leaf/a.exe", "/simple/leaf/.metadata",
	} {
		if status := raw(t, host, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); status != "404" && status != "400" {
			t.Errorf("%q: status %s", path, status)
		}
	}
	for request, want := range map[string]string{
		"POST /simple/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                "405",
		"GET /simple/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n":          "413",
		"GET /simple/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde": "413",
		"GET /simple HTTP/1.1\r\nHost: x\r\n\r\n":                                          "301",
		"GET /simple/My.Leaf HTTP/1.1\r\nHost: x\r\n\r\n":                                  "301",
	} {
		if status := raw(t, host, request); status != want {
			t.Errorf("%q: status %s, not %s", request, status, want)
		}
	}
}

// raw sends a request as it is and gives the status.
func raw(t *testing.T, host, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, request)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.Fields(line)[1]
}

func TestManyClientsCauseOneDownload(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	up := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf})
	up.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/files/") {
			return false
		}
		for part := leaf; len(part) > 0; {
			n := min(len(part), 40_000)
			w.Write(part[:n])
			w.(http.Flusher).Flush()
			part = part[n:]
			time.Sleep(10 * time.Millisecond)
		}
		return true
	})
	base, _ := serve(t, t.TempDir(), time.Minute, up.URL+"/simple")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			answer, text, err := get(t, http.MethodGet, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
			if err != nil || answer.StatusCode != 200 || text != string(leaf) {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	wait.Wait()
	if n := up.count("/files/" + wheelName("leaf", "1.0")); n != 1 {
		t.Errorf("%d downloads", n)
	}
	if n := up.count("/simple/leaf/"); n != 1 {
		t.Errorf("%d pages", n)
	}
}

// TestWhatAnUpstreamPromisesAndDoesNotKeepIsRefused: no client gets the whole of a
// wrong file, and none enters the mirror.
func TestWhatAnUpstreamPromisesAndDoesNotKeepIsRefused(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	small := []byte("<html>log in first</html>")
	wrong := append(append([]byte{}, leaf[:len(leaf)-1]...), leaf[len(leaf)-1]^1)
	cases := map[string]func(http.ResponseWriter, *http.Request){
		"another content":     func(w http.ResponseWriter, _ *http.Request) { w.Write(wrong) },
		"something else":      func(w http.ResponseWriter, _ *http.Request) { w.Write(small) },
		"an endless body":     endless,
		"a length that lies":  func(w http.ResponseWriter, _ *http.Request) { shortBody(w, len(leaf), leaf[:100_000]) },
		"a body that is long": func(w http.ResponseWriter, _ *http.Request) { w.Write(append(append([]byte{}, leaf...), "more"...)) },
		"a redirect to file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"redirects for ever": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"a body that stalls": func(w http.ResponseWriter, r *http.Request) {
			w.Write(leaf[:100_000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"packed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			w.Write(leaf)
		},
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf})
			up.set(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/files/") {
					answer(w, r)
					return true
				}
				return false
			})
			dir := t.TempDir()
			base, log := serve(t, dir, 0, up.URL+"/simple")
			got, text, err := get(t, http.MethodGet, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
			if err == nil && got.StatusCode != 502 {
				t.Errorf("status %d with %d bytes", got.StatusCode, len(text))
			}
			if len(text) >= len(leaf) {
				t.Error("the client has all of it")
			}
			if log.String() == "" {
				t.Error("the log is silent")
			}
			noneKept(t, dir)
			up.set(nil)
			wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0")) // the next one is right
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, 1<<16)
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// shortBody promises more than it sends.
func shortBody(w http.ResponseWriter, promised int, body []byte) {
	c, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", promised)
	buffered.Write(body)
	buffered.Flush()
	c.Close()
}

// noneKept makes sure that a mirror holds no file, and none on its way.
func noneKept(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for {
		var found []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
			if d != nil && d.Type().IsRegular() && d.Name() != "lock" && d.Name() != "index.html" {
				found = append(found, path)
			}
			return nil
		})
		if found == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in the mirror are %v", found)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPagesThatAreNoneAreRefused(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index.JSON)
			endless(w, r)
		},
		"not an index": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "image/png") },
		"torn": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index.JSON)
			w.Write([]byte(`{"files":[`))
		},
		"of tomorrow": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index.JSON)
			w.Write([]byte(`{"meta":{"api-version":"2.0"},"files":[]}`))
		},
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
	} {
		up := newUpstream(t, nil)
		up.set(func(w http.ResponseWriter, r *http.Request) bool { answer(w, r); return true })
		base, log := serve(t, t.TempDir(), 0, up.URL+"/simple")
		wants(t, 502, base+"/simple/leaf/")
		if log.String() == "" {
			t.Errorf("%s: the log is silent", name)
		}
	}
}

func TestAFileDamagedInTheMirrorIsNamedAndFetchedAgain(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	up := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf})
	dir := t.TempDir()
	base, log := serve(t, dir, 0, up.URL+"/simple")
	at := "/simple/leaf/" + wheelName("leaf", "1.0")
	wants(t, 200, base+at)
	kept := filepath.Join(dir, "leaf", wheelName("leaf", "1.0"))
	damage := func() {
		if err := os.WriteFile(kept, append([]byte("x"), leaf[1:]...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	offline, offlineLog := serve(t, dir, 0)
	if text := wants(t, 410, offline+at); !strings.Contains(text, "damaged") {
		t.Error(text)
	}
	if !strings.Contains(offlineLog.String(), kept+" is damaged: its sha256 is ") {
		t.Error(offlineLog)
	}
	if got := wants(t, 200, base+at); got != string(leaf) {
		t.Error("the damaged file was served")
	}
	if !strings.Contains(log.String(), kept+" is damaged") {
		t.Error(log)
	}
	if got := wants(t, 200, offline+at); got != string(leaf) {
		t.Error("it was not mended")
	}

	// What the page offers holds, though its index has no metadata to offer.
	damage()
	if got := wants(t, 200, base+at+metadata); !strings.Contains(got, "Name: leaf") {
		t.Error(got)
	}
	if got := wants(t, 200, offline+at); got != string(leaf) {
		t.Error("it was not mended for its metadata")
	}
}

func TestAFileThatChangedUpstreamIsFetchedAgain(t *testing.T) {
	name := wheelName("leaf", "1.0")
	old, fresh := wheel(t, "leaf", "1.0"), wheel(t, "leaf", "1.0", "twig")
	up := newUpstream(t, map[string][]byte{name: old})
	dir := t.TempDir()
	base, _ := serve(t, dir, 0, up.URL+"/simple")
	wants(t, 200, base+"/simple/leaf/"+name)
	next := newUpstream(t, map[string][]byte{name: fresh})
	base, _ = serve(t, dir, 0, next.URL+"/simple")
	if page := wants(t, 200, base+"/simple/leaf/"); !strings.Contains(page, sum(fresh)) {
		t.Error(page)
	}
	if got := wants(t, 200, base+"/simple/leaf/"+name); got != string(fresh) {
		t.Error("the old file was served")
	}
}

func TestPasswordsGoToTheirHostAlone(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	files := newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): leaf})
	seen := ""
	files.set(func(_ http.ResponseWriter, r *http.Request) bool { seen += r.Header.Get("Authorization"); return false })
	up := newUpstream(t, nil)
	up.set(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "hidden" {
			w.WriteHeader(401)
			return true
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<a href='%s/files/%s#sha256=%s'>x</a>", files.URL, wheelName("leaf", "1.0"), sum(leaf))
		return true
	})
	dir := t.TempDir()
	base, log := serve(t, dir, 0, strings.Replace(up.URL, "://", "://me:hidden@", 1)+"/simple")
	wants(t, 200, base+"/simple/leaf/"+wheelName("leaf", "1.0"))
	if seen != "" {
		t.Error("another host got the password")
	}
	up.Close()
	wants(t, 200, base+"/simple/leaf/")
	record, err := os.ReadFile(filepath.Join(dir, "leaf/index.json"))
	if err != nil || strings.Contains(log.String()+string(record), "hidden") {
		t.Errorf("the password is written down: %s %s %v", log, record, err)
	}
}

func TestAnOldHTMLIndexAndItsStandInsAreRead(t *testing.T) {
	leaf := wheel(t, "leaf", "1.0")
	mux := http.NewServeMux()
	mux.HandleFunc("/root/pypi/+simple/leaf/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<html><a href="../../+f/%s/%s#sha256=%s" data-requires-python="&gt;=3.8" rel="internal">x</a></html>`, sum(leaf)[:3], wheelName("leaf", "1.0"), sum(leaf))
	})
	mux.HandleFunc("/root/pypi/+f/", func(w http.ResponseWriter, _ *http.Request) { w.Write(leaf) })
	up := newUpstream(t, nil)
	up.set(func(w http.ResponseWriter, r *http.Request) bool { mux.ServeHTTP(w, r); return true })
	base, _ := serve(t, t.TempDir(), 0, up.URL+"/root/pypi/+simple/")
	if page := wants(t, 200, base+"/root/pypi/+simple/leaf/"); !strings.Contains(page, `data-requires-python="&gt;=3.8"`) {
		t.Error(page)
	}
	wants(t, 200, base+"/root/pypi/+simple/leaf/"+wheelName("leaf", "1.0"))
}

func TestTheNextUpstreamIsAskedOnlyWhenTheFirstSaysNo(t *testing.T) {
	first, second := newUpstream(t, nil), newUpstream(t, map[string][]byte{wheelName("leaf", "1.0"): wheel(t, "leaf", "1.0")})
	base, _ := serve(t, t.TempDir(), 0, first.URL+"/simple", second.URL+"/simple")
	wants(t, 200, base+"/simple/leaf/")
	first.set(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true })
	wants(t, 502, base+"/simple/leaf/")
}
