package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
)

// Why somebody was not recognised.
var (
	ErrUnknown     = errors.New("the credential is unknown, or has expired")
	ErrUnavailable = errors.New("credentials cannot be checked now")
)

// Guard recognises people. One of its fields is nil at most.
type Guard struct {
	Tokens *Tokens
	Issuer *Issuer
}

// Identify says whose a credential is. Its error is ErrUnknown or
// ErrUnavailable, around the reason, which holds nothing of the credential.
func (g Guard) Identify(ctx context.Context, credential string, now time.Time) (Identity, error) {
	if g.Issuer != nil && strings.Count(credential, ".") == 2 {
		return g.Issuer.identify(ctx, credential, now)
	}
	if g.Tokens == nil || len(credential) > 256 {
		return Identity{}, ErrUnknown
	}
	return g.Tokens.identify(sha256.Sum256([]byte(credential)), now)
}

// again is Identify for somebody recognised before: the token may have been
// taken out of the file since, or have got another role.
func (g Guard) again(id Identity, now time.Time) (Identity, error) {
	if id.digest != ([32]byte{}) && g.Tokens != nil {
		return g.Tokens.identify(id.digest, now)
	}
	if !id.lives(now) {
		return Identity{}, ErrUnknown
	}
	return id, nil
}
