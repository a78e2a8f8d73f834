package oci

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// retry makes a request again that failed for a reason that may pass.
type retry struct {
	times int           // after the first
	wait  time.Duration // before the second, doubled every time
	note  func(message string)
}

// Waits are no longer than this, unless a registry asks for more.
const (
	longestWait     = 30 * time.Second
	longestAskedFor = 2 * time.Minute
)

func (o ResolveOptions) retry() retry {
	return retry{max(cmp.Or(o.Retries, 4), 0), cmp.Or(o.RetryWait, time.Second), o.Note}
}

// again calls do until it succeeds, fails for good, or has failed too often without
// getting on between.
func (r retry) again(ctx context.Context, what string, do func() (gotOn bool, err error)) error {
	failures, wait := 0, r.wait
	for {
		gotOn, err := do()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if gotOn {
			failures, wait = 0, r.wait
		}
		if err == nil || failures >= r.times || !passing(err) {
			return err
		}
		pause := wait
		var busy *busyError
		if errors.As(err, &busy) {
			pause = max(wait, min(busy.after, longestAskedFor))
		}
		if r.note != nil {
			r.note(fmt.Sprintf("%s: %v; trying again in %v", what, shortest(err), pause))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		failures, wait = failures+1, min(2*wait, longestWait)
	}
}

// busyError is a refusal with the time after which to come again.
type busyError struct {
	error
	after time.Duration
}

func (e *busyError) Unwrap() error { return e.error }

// localError is a failure to read what is to be pushed, which no repetition mends.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

// refusal makes an error of a status that is not among those wanted.
func refusal(resp *http.Response, wanted ...int) error {
	err := transport.CheckError(resp, wanted...)
	if err == nil {
		return nil
	}
	if seconds, bad := strconv.Atoi(resp.Header.Get("Retry-After")); bad == nil && seconds > 0 {
		return &busyError{err, time.Duration(min(seconds, 3600)) * time.Second}
	}
	return err
}

// passing tells whether a request may succeed later.
func passing(err error) bool {
	var local *localError
	var refused *transport.Error
	var network *url.Error
	var unverified *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &local), errors.Is(err, errPlain), errors.As(err, &unverified), errors.As(err, &notTLS):
		return false
	case errors.As(err, &refused):
		switch refused.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return true
		case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
			return false
		}
		return refused.StatusCode >= 500
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	}
	var operation *net.OpError
	return errors.As(err, &network) || errors.As(err, &operation) || errors.Is(err, io.ErrUnexpectedEOF)
}

// shortest takes the address off an error.
func shortest(err error) error {
	var network *url.Error
	var refused *transport.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("it answers %d %s", refused.StatusCode, http.StatusText(refused.StatusCode))
	}
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}
