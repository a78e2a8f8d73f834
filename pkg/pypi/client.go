package pypi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// ClientOptions say how indexes are reached. Proxies are those of the environment.
type ClientOptions struct {
	Netrc   string        // path of a .netrc; "": none
	CAFile  string        // certificates that are believed beside the machine's; "": none
	Timeout time.Duration // how long an index may send nothing; 0: 30 s
	Agent   string        // User-Agent
}

// Client asks indexes over http. Passwords go to the host that they were given
// for, and nowhere else.
type Client struct {
	http    *http.Client
	timeout time.Duration
	agent   string
	netrc   map[string]*url.Userinfo // by host

	mu    sync.Mutex
	users map[string]*url.Userinfo // by scheme and host
}

// NewClient makes a client.
func NewClient(o ClientOptions) (*Client, error) {
	c := &Client{timeout: o.Timeout, agent: o.Agent, users: map[string]*url.Userinfo{}}
	if c.timeout <= 0 {
		c.timeout = 30 * time.Second
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: min(c.timeout, 10*time.Second)}).DialContext,
		TLSHandshakeTimeout:   c.timeout,
		ResponseHeaderTimeout: c.timeout,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	if o.CAFile != "" {
		pool, err := certificates(o.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if o.Netrc != "" {
		text, err := os.ReadFile(o.Netrc)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the passwords of indexes: %w", err)
		}
		c.netrc = parseNetrc(string(text))
	}
	c.http = &http.Client{Transport: authenticated{transport, c}, CheckRedirect: checkRedirect}
	return c, nil
}

func certificates(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cannot read certificates: %s holds none", file)
	}
	return pool, nil
}

// checkRedirect follows an index to http and https only, and never from the safe
// to the open one.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > 10:
		return errors.New("more than 10 redirects")
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return fmt.Errorf("a redirect to %s: is refused", next.URL.Scheme)
	case next.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errors.New("a redirect from https to http is refused")
	}
	return nil
}

// authenticated adds the password that is meant for a host.
type authenticated struct {
	next   http.RoundTripper
	client *Client
}

func (a authenticated) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	if user := a.client.user(r.URL); user != nil {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	return a.next.RoundTrip(r)
}

func (c *Client) user(u *url.URL) *url.Userinfo {
	c.mu.Lock()
	user := c.users[u.Scheme+"://"+u.Host]
	c.mu.Unlock()
	if user == nil {
		user = c.netrc[u.Hostname()]
	}
	return user
}

// remember takes the user out of an address, to be used for its host.
func (c *Client) remember(u *url.URL) *url.URL {
	plain := *u
	plain.User = nil
	if u.User != nil {
		c.mu.Lock()
		c.users[u.Scheme+"://"+u.Host] = u.User
		c.mu.Unlock()
	}
	return &plain
}

// parseNetrc reads machines with their logins; macros are passed over, and lines
// that are comments.
func parseNetrc(text string) map[string]*url.Userinfo {
	out := map[string]*url.Userinfo{}
	var fields []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			fields = append(fields, strings.Fields(line)...)
		}
	}
	host, login, password := "", "", ""
	flush := func() {
		if host != "" && out[host] == nil && (login != "" || password != "") {
			out[host] = url.UserPassword(login, password)
		}
		host, login, password = "", "", ""
	}
	for i := 0; i+1 < len(fields); i++ {
		value := fields[i+1]
		switch fields[i] {
		case "machine":
			flush()
			host = value
		case "login":
			login = value
		case "password":
			password = value
		case "account":
		default:
			if fields[i] == "default" {
				flush()
			}
			continue
		}
		i++
	}
	flush()
	return out
}

// get asks for an address; the answer's body ends with an error when nothing
// comes for too long.
func (c *Client) get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	r.Header = header
	if c.agent != "" {
		r.Header.Set("User-Agent", c.agent)
	}
	response, err := c.http.Do(r)
	if err != nil {
		cancel(nil)
		var wrapped *url.Error // repeats the address, with what a query has in it
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	stalled := fmt.Errorf("nothing came for %s", c.timeout)
	response.Body = &watched{
		ReadCloser: response.Body, ctx: ctx, cancel: cancel, timeout: c.timeout,
		timer: time.AfterFunc(c.timeout, func() { cancel(stalled) }),
	}
	return response, nil
}

// watched is a body that may not stall.
type watched struct {
	io.ReadCloser
	ctx     context.Context // of the request; its cause tells of a stall
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	n, err := w.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(w.ctx) != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}
