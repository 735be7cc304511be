package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// Lives of a session (ASVS 7.3.1, 7.3.2).
const (
	SessionIdle     = 15 * time.Minute
	SessionLifetime = 8 * time.Hour
)

// maxSessions bounds memory. The one that was used longest ago goes first.
const maxSessions = 10_000

// maxForms bounds what a session remembers.
const maxForms = 1000

// Sessions are those of browsers, in memory: a restart ends them. It is safe
// for concurrent use.
type Sessions struct {
	Guard Guard
	Now   func() time.Time // tests alone set another

	mu  sync.Mutex // guards all
	all map[[sha256.Size]byte]*session
}

// session is immutable but for used and forms, which the mutex guards.
type session struct {
	id          Identity
	begun, used time.Time
	forms       map[string]*Sending // by the id of a form that was sent
}

// NewSessions has no session yet.
func NewSessions(g Guard) *Sessions {
	return &Sessions{Guard: g, Now: time.Now, all: map[[sha256.Size]byte]*session{}}
}

// Begin begins a session and returns the text that names it, of 256 random
// bits.
func (s *Sessions) Begin(id Identity) string {
	var random [32]byte
	rand.Read(random[:])
	name := base64.RawURLEncoding.EncodeToString(random[:])
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	s.all[sha256.Sum256([]byte(name))] = &session{id: id, begun: now, used: now, forms: map[string]*Sending{}}
	return name
}

// sweep forgets sessions that have ended, and the oldest where there are too
// many.
func (s *Sessions) sweep(now time.Time) {
	var oldest [sha256.Size]byte
	for name, session := range s.all {
		if session.ended(now) {
			delete(s.all, name)
		} else if first, ok := s.all[oldest]; !ok || session.used.Before(first.used) {
			oldest = name
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
}

func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) >= SessionIdle || now.Sub(s.begun) >= SessionLifetime || !s.id.lives(now)
}

// Find says whose a session is, and that it is in use. Its error is as
// Identify's: where the credential has ended, so has the session.
func (s *Sessions) Find(name string) (Identity, error) {
	key, now := sha256.Sum256([]byte(name)), s.Now()
	s.mu.Lock()
	session := s.all[key]
	if session == nil || session.ended(now) {
		delete(s.all, key)
		s.mu.Unlock()
		return Identity{}, ErrUnknown
	}
	session.used = now
	s.mu.Unlock()
	return s.Guard.again(session.id, now)
}

// End ends a session.
func (s *Sessions) End(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(name)))
}

// Sending is a form that is sent.
type Sending struct {
	Over   chan struct{} // closed when it is known what came of it
	Secret string        // the id of the secret that it made; to read after Over

	session *session
	form    string
}

// Once begins the sending of a form, or tells of the one that was first. It is
// nil where the form cannot be sent.
func (s *Sessions) Once(name, form string) (sending *Sending, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.all[sha256.Sum256([]byte(name))]
	if session == nil || form == "" || len(form) > 64 {
		return nil, false
	}
	if sending = session.forms[form]; sending == nil && len(session.forms) < maxForms {
		sending, first = &Sending{Over: make(chan struct{}), session: session, form: form}, true
		session.forms[form] = sending
	}
	return sending, first
}

// Finish says what came of a sending. A form that made nothing can be sent again.
func (s *Sessions) Finish(sending *Sending, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sending.Secret = secret; secret == "" {
		delete(sending.session.forms, sending.form)
	}
	close(sending.Over)
}
