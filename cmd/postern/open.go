package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
	"github.com/postern/postern/cache/store"
)

// commandTimeout bounds one step of a command that reaches the store.
const commandTimeout = 5 * time.Second

// poolSize is how many look-ups may be under way: a cold start has many.
const poolSize = 32

// storeFlags are the flags of commands that reach the store.
type storeFlags struct {
	redis, ca, keyFile *string
}

func (c *call) storeFlags() storeFlags {
	f := c.remoteFlags()
	f.keyFile = c.flags.String("key-file", "", "`FILE` of the store's keys, made by key new")
	return f
}

// remoteFlags are the storeFlags of a command that names the key file
// otherwise.
func (c *call) remoteFlags() storeFlags {
	return storeFlags{
		redis: c.flags.String("redis", "", "`URL` of the store: redis://HOST, rediss://HOST, redis://A,B (cluster), redis://A,B?master=NAME (Sentinel)"),
		ca:    c.flags.String("redis-ca", "", "`FILE` of certificates that may vouch for rediss:// hosts, beside the system's"),
	}
}

// open connects to the store. The caller closes what it returns.
func (c *call) open(f storeFlags) (*store.Store, io.Closer, error) {
	required := []string{"redis"}
	if c.flags.Lookup("key-file") != nil {
		required = append(required, "key-file")
	}
	if err := c.require(required...); err != nil {
		return nil, nil, err
	}
	keys, err := readKeyring(*f.keyFile, c.warn)
	if err != nil {
		return nil, nil, err
	}
	client, err := connect(f, commandTimeout)
	if err != nil {
		return nil, nil, err
	}
	s := store.New(client, keys)
	if _, err := s.Epoch(c.ctx); err != nil {
		client.Close()
		if authz.ReasonOf(err) == authz.StoreUnavailable {
			err = fmt.Errorf("%w: check --redis, and that the server is up", err)
		}
		return nil, nil, fmt.Errorf("open the store at %s: %w", store.Redacted(*f.redis), err)
	}
	return s, client, nil
}

func connect(f storeFlags, timeout time.Duration) (redis.UniversalClient, error) {
	client, err := store.Connect(store.Options{URL: *f.redis, CAFile: *f.ca, Timeout: timeout, PoolSize: poolSize})
	if err != nil {
		return nil, usageError{fmt.Errorf("--redis: %w", err)}
	}
	return client, nil
}

// readKeyring reads a key file. Others may not write it, the group included;
// that all may read it is worth a warning. The group often must: Kubernetes
// gives a Secret to a pod's group, as mode 0440.
func readKeyring(file string, warn func(string, ...any)) (*authz.Keyring, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file %s does not exist: make it with postern key new %s", file, file)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("key file %s may be written by others (mode %#o): chmod 600 it, and make sure that its keys are still yours", file, info.Mode().Perm())
	}
	if info.Mode().Perm()&0o004 != 0 {
		warn("key file %s may be read by others (mode %#o): chmod 600 it", file, info.Mode().Perm())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	keys, err := authz.ParseKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", file, err)
	}
	return keys, nil
}

// replaceKeyring writes a key file anew, whole or not at all, for the owner
// that it has.
func replaceKeyring(file string, keys *authz.Keyring) error {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	data, err := keys.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode key file: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(append(data, '\n'))
	if err := errors.Join(err, temporary.Sync(), temporary.Close(), copyOwner(file, temporary.Name())); err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	if err := os.Rename(temporary.Name(), file); err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	return nil
}

// copyOwner gives a file another one's owner, and its mode without what others
// may do: a group that could read the one can read the other.
func copyOwner(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		err = os.Chown(to, int(owner.Uid), int(owner.Gid))
	}
	return errors.Join(err, os.Chmod(to, info.Mode().Perm()&0o640))
}

// readCatalog reads and compiles an OpenAPI document.
func readCatalog(file string) (*authz.Catalog, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w: name a file that holds the API's OpenAPI document", err)
	}
	catalog, err := openapi.Load(data)
	if err != nil {
		return nil, fmt.Errorf("catalog %s:\n%w", file, err)
	}
	return catalog, nil
}

// expiry reads --expires, a moment to come: a duration from now, such as 90d,
// 12h or 2s, or RFC 3339. It is the zero time where the flag was not given. An
// empty text is no way to say never: it may be a variable that a script did not
// set.
func (c *call) expiry(text string, now time.Time) (time.Time, error) {
	switch {
	case text == "" && c.given("expires"):
		return time.Time{}, errors.New("--expires is empty: leave it out for a secret that never expires")
	case text == "":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		d, err := parseDuration(text)
		if errors.Is(err, errTooLong) {
			return time.Time{}, fmt.Errorf("--expires %q is %w", text, err)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("--expires %q is no duration and no RFC 3339 time: write 90d, 12h or 2030-01-31T00:00:00Z", text)
		}
		at = now.Add(d)
	}
	if !at.After(now) {
		return time.Time{}, fmt.Errorf("--expires %q is in the past: name a moment to come", text)
	}
	if at.Year() > 9999 {
		return time.Time{}, fmt.Errorf("--expires %q is beyond the year 9999: leave it out for a secret that never expires", text)
	}
	return at.UTC(), nil
}

// errTooLong says that a duration is beyond what can be counted.
var errTooLong = errors.New("longer than 200 years: leave it out for a secret that never expires")

func parseDuration(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > 200*365 {
		return 0, errTooLong
	}
	return time.Duration(n) * 24 * time.Hour, err
}

// readToken reads a token on stdin; white space around it is left out.
func (c *call) readToken() (authz.Token, error) {
	text, err := c.readStdin()
	if err != nil {
		return authz.Token{}, err
	}
	token, reason := authz.ParseToken(text)
	if reason != authz.Undecided {
		return authz.Token{}, errors.New("what stdin holds is no token: want 16 to 128 of A-Z a-z 0-9 . _ ~ + / = -")
	}
	return token, nil
}

// readStdin reads stdin as far as a token could go, less white space around
// it.
func (c *call) readStdin() (string, error) {
	text, err := io.ReadAll(io.LimitReader(c.Stdin, 4096))
	if err != nil {
		return "", fmt.Errorf("read the token on stdin: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// now is the moment that a new secret is made at, as it will be stored.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
