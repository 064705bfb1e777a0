package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/natsd/natsd/server/options"
)

// writePidFile writes the process id. The file stays when the server ends.
func writePidFile(path string) error {
	if path == "" {
		return nil
	}
	return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// Ports are the URLs of the server's listeners, as they stand in the ports file.
type Ports struct {
	Nats       []string `json:"nats,omitempty"`
	Monitoring []string `json:"monitoring,omitempty"`
	Cluster    []string `json:"cluster,omitempty"`
	Profile    []string `json:"profile,omitempty"`
	WebSocket  []string `json:"websocket,omitempty"`
}

// portsFile returns the path of the ports file in a directory.
func portsFile(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%s_%d.ports", filepath.Base(os.Args[0]), os.Getpid()))
}

// writePortsFile tells the ports of the server, if it is wanted. A failure is no reason to stop.
func (s *Server) writePortsFile(dir string) {
	if dir == "" {
		return
	}
	path := portsFile(dir)
	data, err := json.Marshal(s.Ports())
	if err == nil {
		err = os.WriteFile(path, data, 0o666)
	}
	if err != nil {
		s.log.Errorf("Error writing ports file (%s): %v", path, err)
	}
}

// removePortsFile removes the file that writePortsFile wrote, if it could.
func (s *Server) removePortsFile(dir string) {
	if dir == "" {
		return
	}
	path := portsFile(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Errorf("Error cleaning up ports file %s: %v", path, err)
	}
}

// Ports returns the URLs of the listeners that are open.
func (s *Server) Ports() Ports {
	o := s.Options()
	s.mu.Lock()
	defer s.mu.Unlock()
	scheme := func(t *options.TLS, plain, secure string) string {
		if t != nil {
			return secure
		}
		return plain
	}
	var p Ports
	if s.listener != nil {
		p.Nats = listenURLs(scheme(o.TLS, "nats", "tls"), s.listener)
	}
	if s.monitoring != nil {
		scheme := "http"
		if o.HTTPSPort != 0 {
			scheme = "https"
		}
		p.Monitoring = listenURLs(scheme, s.monitoring)
	}
	if s.profiler != nil {
		p.Profile = listenURLs("http", s.profiler)
	}
	return p
}

// listenURLs returns one URL for a listener, or one for each address of the machine if it listens on all.
func listenURLs(scheme string, l net.Listener) []string {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	url := func(ip net.IP) string {
		return scheme + "://" + net.JoinHostPort(ip.String(), strconv.Itoa(addr.Port))
	}
	if !addr.IP.IsUnspecified() {
		return []string{url(addr.IP)}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{url(addr.IP)}
	}
	var urls []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			urls = append(urls, url(n.IP))
		}
	}
	return urls
}
