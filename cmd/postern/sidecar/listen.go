package sidecar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const unixPrefix = "unix:"

// The protocols that TLS may agree on (ALPN).
const (
	checksProtocol = "h2"
	opsProtocol    = "http/1.1"
)

// listener is a bound address. A unix socket is bound under a temporary name
// until it is published.
type listener struct {
	net.Listener
	protocol  string
	temporary string // name; "" of TCP, and of a socket that is published
	path      string // "" of TCP
	trouble   string // why path cannot be made again, as logged last
}

// binder binds addresses.
type binder struct {
	mode     fs.FileMode
	insecure bool
	tls      *tls.Config // of TCP; nil: none
	bound    []*listener
}

func newBinder(o Options) (*binder, error) {
	config, err := tlsConfig(o)
	return &binder{mode: o.SocketMode, insecure: o.Insecure, tls: config}, err
}

// close takes back what was bound and not published. Closing a listener twice
// does no harm.
func (b *binder) close() {
	for _, l := range b.bound {
		l.Close()
		if l.temporary != "" {
			os.Remove(l.temporary)
		}
	}
}

// bindOps binds the operators' address; "" binds nothing.
func (b *binder) bindOps(address string) error {
	if address == "" {
		return nil
	}
	return b.bind("--ops", address, opsProtocol)
}

// bindAll binds TCP addresses, then unix sockets.
func (b *binder) bindAll(addresses []string) error {
	for _, unix := range []bool{false, true} {
		for _, address := range addresses {
			if strings.HasPrefix(address, unixPrefix) != unix {
				continue
			}
			if err := b.bind("--listen", address, checksProtocol); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *binder) bind(flag, address, protocol string) (err error) {
	var l *listener
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		l, err = b.bindUnix(filepath.Clean(path))
	} else {
		l, err = b.bindTCP(address, protocol)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
	l.protocol = protocol
	b.bound = append(b.bound, l)
	return nil
}

func (b *binder) bindTCP(address, protocol string) (*listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("it is no address: write host:port or unix:/path")
	}
	if b.tls == nil && !b.insecure && !isLoopback(host) {
		return nil, errors.New("beyond loopback it needs --tls-cert and --tls-key, or --insecure to go without")
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: name another address, or end the process that has it", err)
	}
	if err != nil {
		return nil, err
	}
	// The operators' address on loopback is for the host's own tools.
	if b.tls != nil && !(protocol == opsProtocol && isLoopback(host)) {
		config := b.tls.Clone()
		config.NextProtos = []string{protocol}
		l = tls.NewListener(l, config)
	}
	return &listener{Listener: l}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bindUnix binds a socket beside path. It never touches a file that is no
// socket.
func (b *binder) bindUnix(path string) (*listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("it is no absolute path: write unix:/path")
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, errors.New("the file is there and is no socket: name another path, or move it away")
	}
	if slices.ContainsFunc(b.bound, func(l *listener) bool { return l.path == path }) {
		return nil, errors.New("the path is named twice")
	}
	return b.listenUnix(path)
}

// listenUnix listens beside path, on a socket that only needs its name.
func (b *binder) listenUnix(path string) (*listener, error) {
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	os.Remove(temporary) // of a process that had our id and was killed
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("%w (a socket's path has 107 bytes at most, with %q at its end)", err, temporary[len(path):])
	}
	// By the time this process ends, the path may be another one's.
	l.SetUnlinkOnClose(false)
	bound := &listener{Listener: l, temporary: temporary, path: path}
	if err := os.Chmod(temporary, b.mode); err != nil {
		l.Close()
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return bound, nil
}

// publish gives sockets their names, each in the place of what a running or
// dead process left there, with no moment between.
func (b *binder) publish() error {
	for _, l := range b.bound {
		if l.temporary == "" {
			continue
		}
		if err := os.Rename(l.temporary, l.path); err != nil {
			return fmt.Errorf("take over %s: %w", l.path, err)
		}
		l.temporary = ""
	}
	return nil
}
