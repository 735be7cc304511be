package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"
)

// TokenPrefix begins every token of a file: those who search for leaked
// secrets can tell it.
const TokenPrefix = "postern_admin_"

// entry is a token as its file has it.
type entry struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	SHA256    string     `json:"sha256"` // of the text, which has 256 random bits
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// file is the content of a token file.
type file struct {
	Tokens []entry `json:"tokens"`
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// identities checks a file's content and returns what it says.
func (f file) identities() ([]Identity, error) {
	var all []Identity
	for i, e := range f.Tokens {
		role, err := ParseRole(e.Role)
		digest, hexErr := hex.DecodeString(e.SHA256)
		switch {
		case err != nil:
		case !tokenName.MatchString(e.Name):
			err = fmt.Errorf("name %q: use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit", e.Name)
		case hexErr != nil || len(digest) != sha256.Size:
			err = errors.New("sha256 is not 64 hexadecimal digits")
		}
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i+1, err)
		}
		id := Identity{Name: e.Name, Role: role, digest: [sha256.Size]byte(digest)}
		if e.ExpiresAt != nil {
			id.Until = *e.ExpiresAt
		}
		all = append(all, id)
	}
	return all, nil
}

// readFile reads a token file, which others may not write.
func readFile(path string) (file, []Identity, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, nil, fmt.Errorf("token file %s: %w: make it with postern admin token new --tokens %s", path, fs.ErrNotExist, path)
	}
	if err != nil {
		return file{}, nil, fmt.Errorf("token file: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return file{}, nil, fmt.Errorf("token file %s may be written by others (mode %#o): chmod 600 it, and make sure that its tokens are still yours", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return file{}, nil, fmt.Errorf("token file: %w", err)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return file{}, nil, fmt.Errorf("token file %s: %w", path, err)
	}
	all, err := f.identities()
	if err != nil {
		return file{}, nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return f, all, nil
}

// AddToken adds a token to a file, or makes the file, mode 0600, and returns
// the token's text, which is in no other place. The zero time never expires. A
// name may be there more than once: while one token takes another's place.
func AddToken(path, name string, role Role, expires, now time.Time) (string, error) {
	release, err := lock(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	defer release()
	f, _, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var random [32]byte
	rand.Read(random[:])
	text := TokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	e := entry{Name: name, Role: role.String(), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), CreatedAt: now}
	if !expires.IsZero() {
		e.ExpiresAt = &expires
	}
	f.Tokens = append(f.Tokens, e)
	if _, err := f.identities(); err != nil {
		return "", fmt.Errorf("nothing was stored: %w", err)
	}
	return text, f.replace(path)
}

// lock keeps others from adding to a file of a folder at the same time.
func lock(dir string) (release func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// replace writes a file anew, whole or not at all, for the owner that it has.
func (f file) replace(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode token file: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".tokens-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	defer os.Remove(temporary.Name())
	if info, err := os.Stat(path); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			temporary.Chown(int(owner.Uid), int(owner.Gid)) // where that may be
		}
	}
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	return nil
}

// Tokens are those of a file, as it is now. It is safe for concurrent use.
type Tokens struct {
	path string

	mu     sync.Mutex // guards what follows
	read   fs.FileInfo
	all    []Identity
	refuse error // why the file as it is now cannot be used
}

// NewTokens reads a file. One that holds no live token is refused.
func NewTokens(path string, now time.Time) (*Tokens, error) {
	t := &Tokens{path: path}
	all, err := t.current()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(all, func(id Identity) bool { return id.lives(now) }) {
		return nil, fmt.Errorf("token file %s holds no live token: make one with postern admin token new --tokens %s", path, path)
	}
	return t, nil
}

func (id Identity) lives(now time.Time) bool { return id.Until.IsZero() || now.Before(id.Until) }

// current are the tokens of the file, which is read again when it has changed.
// While it cannot be read nobody is recognised: a token that was taken out
// must not come back by a mistake in the file.
func (t *Tokens) current() ([]Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && t.read != nil && os.SameFile(info, t.read) && info.Size() == t.read.Size() && info.ModTime().Equal(t.read.ModTime()) && info.Mode() == t.read.Mode() {
		return t.all, t.refuse
	}
	t.read = info // of before the reading: what is written meanwhile is read next time
	_, t.all, t.refuse = readFile(t.path)
	return t.all, t.refuse
}

// identify finds the token with a digest. All are compared, in constant time.
func (t *Tokens) identify(digest [32]byte, now time.Time) (Identity, error) {
	all, err := t.current()
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var found Identity
	for _, id := range all {
		if subtle.ConstantTimeCompare(id.digest[:], digest[:]) == 1 {
			found = id
		}
	}
	if found.Role == (Role{}) || !found.lives(now) {
		return Identity{}, ErrUnknown
	}
	return found, nil
}
