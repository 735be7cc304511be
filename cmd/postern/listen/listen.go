// Package listen binds the addresses of a process: TCP, with TLS where it goes
// beyond loopback, and unix sockets, taken over from another process without a
// moment between.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// UnixPrefix begins the address of a unix socket.
const UnixPrefix = "unix:"

// The protocols that TLS may agree on (ALPN).
const (
	HTTP2 = "h2"
	HTTP1 = "http/1.1"
)

// Options say how addresses are bound.
type Options struct {
	SocketMode fs.FileMode // of unix sockets

	TLSCert, TLSKey, TLSClientCA string // files; none: TCP on loopback only, unless Insecure
	Insecure                     bool
}

// Listener is a bound address. A unix socket is bound under a temporary name
// until it is published.
type Listener struct {
	net.Listener
	Protocol string // HTTP2 or HTTP1

	temporary string // name; "" of TCP, and of a socket that is published
	path      string // "" of TCP
	trouble   string // why path cannot be made again, as logged last
}

// Binder binds addresses.
type Binder struct {
	mode     fs.FileMode
	insecure bool
	tls      *tls.Config // of TCP; nil: none
	bound    []*Listener
}

// NewBinder fails where the files of TLS cannot be used. log is told where they
// cannot be used again after a change.
func NewBinder(o Options, log *slog.Logger) (*Binder, error) {
	config, err := tlsConfig(o, log)
	return &Binder{mode: o.SocketMode, insecure: o.Insecure, tls: config}, err
}

// Close takes back what was bound and not published. Closing a listener twice
// does no harm.
func (b *Binder) Close() {
	for _, l := range b.bound {
		l.Close()
		if l.temporary != "" {
			os.Remove(l.temporary)
		}
	}
}

// Bound are the listeners, the operators' first.
func (b *Binder) Bound() []*Listener { return b.bound }

// BindOps binds the operators' address; "" binds nothing. On loopback it is for
// the host's own tools, and has no TLS.
func (b *Binder) BindOps(address string) error {
	if address == "" {
		return nil
	}
	config := b.tls
	if host, _, _ := net.SplitHostPort(address); isLoopback(host) {
		config = nil
	}
	return b.bind("--ops", address, HTTP1, config)
}

// Bind binds TCP addresses, then unix sockets: a process that fails on a taken
// port must not have taken a socket from a healthy one.
func (b *Binder) Bind(addresses []string, protocol string) error {
	for _, unix := range []bool{false, true} {
		for _, address := range addresses {
			if strings.HasPrefix(address, UnixPrefix) != unix {
				continue
			}
			if err := b.bind("--listen", address, protocol, b.tls); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Binder) bind(flag, address, protocol string, config *tls.Config) (err error) {
	var l *Listener
	if path, ok := strings.CutPrefix(address, UnixPrefix); ok {
		l, err = b.bindUnix(filepath.Clean(path))
	} else {
		l, err = b.bindTCP(address, protocol, config)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
	l.Protocol = protocol
	b.bound = append(b.bound, l)
	return nil
}

func (b *Binder) bindTCP(address, protocol string, config *tls.Config) (*Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("it is no address: write host:port or unix:/path")
	}
	if config == nil && !b.insecure && !isLoopback(host) {
		return nil, errors.New("beyond loopback it needs --tls-cert and --tls-key, or --insecure to go without")
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: name another address, or end the process that has it", err)
	}
	if err != nil {
		return nil, err
	}
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{protocol}
		l = tls.NewListener(l, config)
	}
	return &Listener{Listener: l}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bindUnix binds a socket beside path. It never touches a file that is no
// socket.
func (b *Binder) bindUnix(path string) (*Listener, error) {
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
	if slices.ContainsFunc(b.bound, func(l *Listener) bool { return l.path == path }) {
		return nil, errors.New("the path is named twice")
	}
	return b.listenUnix(path)
}

// listenUnix listens beside path, on a socket that only needs its name.
func (b *Binder) listenUnix(path string) (*Listener, error) {
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	os.Remove(temporary) // of a process that had our id and was killed
	l, err := (&net.ListenConfig{Control: narrow(b.mode)}).Listen(context.Background(), "unix", temporary)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: make the folder %s", err, filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("%w (a socket's path has 107 bytes at most, with %q at its end)", err, temporary[len(path):])
	}
	// By the time this process ends, the path may be another one's.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	bound := &Listener{Listener: l, temporary: temporary, path: path}
	if err := os.Chmod(temporary, b.mode); err != nil {
		l.Close()
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return bound, nil
}

// narrow gives a socket its mode before it has a name: whom mode keeps out cannot
// slip in between bind and chmod. Linux alone heeds it.
func narrow(mode fs.FileMode) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), uint32(mode.Perm())) })
	}
}

// Publish gives sockets their names, each in the place of what a running or
// dead process left there, with no moment between.
func (b *Binder) Publish() error {
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
