//go:build faults

package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// harm is what a strait does to what Redis sends: it sends something to the
// client, or nothing. After an error the connection is closed.
type harm func(client *net.TCPConn, reply []byte, opened time.Time) error

// strait is what a sidecar's connections to Redis go through. It does harm
// where told to.
type strait struct {
	addr, redis string

	mu    sync.Mutex // guards what follows
	harm  harm
	pairs []io.Closer
}

func newStrait(t *testing.T, redis string) *strait {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &strait{addr: l.Addr().String(), redis: redis, harm: pass}
	go s.accept(l)
	t.Cleanup(func() {
		l.Close()
		s.close()
	})
	return s
}

// does has the strait do this from now on.
func (s *strait) does(h harm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.harm = h
}

func (s *strait) doing() harm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.harm
}

func (s *strait) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.pairs {
		c.Close()
	}
}

func (s *strait) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		server, err := net.Dial("tcp", s.redis)
		if err != nil {
			client.Close()
			continue
		}
		s.mu.Lock()
		s.pairs = append(s.pairs, client, server)
		s.mu.Unlock()
		go func() {
			defer server.Close()
			_, _ = io.Copy(server, client) // either may end it
		}()
		go s.carry(client.(*net.TCPConn), server)
	}
}

// carry carries what Redis sends.
func (s *strait) carry(client *net.TCPConn, server net.Conn) {
	defer client.Close()
	opened, reply := time.Now(), make([]byte, 64<<10)
	for {
		n, err := server.Read(reply)
		if err != nil || s.doing()(client, reply[:n], opened) != nil {
			return
		}
	}
}

func pass(client *net.TCPConn, reply []byte, _ time.Time) error {
	_, err := client.Write(reply)
	return err
}

// slow holds everything up.
func slow(d time.Duration) harm {
	return func(client *net.TCPConn, reply []byte, opened time.Time) error {
		time.Sleep(d)
		return pass(client, reply, opened)
	}
}

// mute lets nothing through, and says nothing.
func mute(*net.TCPConn, []byte, time.Time) error { return nil }

// muteOld does so on connections opened before a moment.
func muteOld(moment time.Time) harm {
	return func(client *net.TCPConn, reply []byte, opened time.Time) error {
		if opened.Before(moment) {
			return nil
		}
		return pass(client, reply, opened)
	}
}

var errCut = errors.New("cut off")

// reset lets half of a reply through, and resets the connection.
func reset(client *net.TCPConn, reply []byte, opened time.Time) error {
	return errors.Join(pass(client, reply[:len(reply)/2], opened), client.SetLinger(0), errCut)
}

// says sends this in the place of every reply.
func says(text string) harm {
	return func(client *net.TCPConn, _ []byte, opened time.Time) error { return pass(client, []byte(text), opened) }
}

// twice sends every reply twice: what comes next on the connection is answered
// with what was asked before.
func twice(client *net.TCPConn, reply []byte, opened time.Time) error {
	return errors.Join(pass(client, reply, opened), pass(client, reply, opened))
}
