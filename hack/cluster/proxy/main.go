// Command proxy lets programs in the cluster's network namespace fetch from outside
// over HTTP. It listens inside and dials outside, and ends with the namespace:
//
//	proxy PID ADDRESS
//
// PID is the first process of the namespace, ADDRESS an IP address and a port in it.
// Nothing else of the network goes through, and nobody outside reaches the listener.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: proxy PID ADDRESS")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	alive, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		log.Fatal("finding the namespace's process: ", err)
	}
	listener, err := listenIn(pid, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, handler())) }()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(alive), Events: unix.POLLIN}}, -1)
		if err == nil {
			return
		}
	}
}

// listenIn opens a listener in the network namespace of a process. Only the thread
// that does so goes there, and it is given up afterwards.
func listenIn(pid int, address string) (net.Listener, error) {
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with this function
		listener, err := func() (net.Listener, error) {
			namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
			if err != nil {
				return nil, err
			}
			defer namespace.Close()
			if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("entering the network of process %d: %w", pid, err)
			}
			return net.Listen("tcp", address)
		}()
		done <- result{listener, err}
	}()
	r := <-done
	return r.listener, r.err
}

// handler forwards what is asked of a proxy: whole URLs, and CONNECT.
func handler() http.Handler {
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			tunnel(w, r.Host)
		case r.URL.IsAbs():
			forward.ServeHTTP(w, r)
		default:
			http.Error(w, "this is a proxy", http.StatusBadRequest)
		}
	})
}

// tunnel joins the client to a host, whatever they say to each other.
func tunnel(w http.ResponseWriter, host string) {
	server, err := net.Dial("tcp", host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, buffered)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
}
