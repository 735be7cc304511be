package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// A merchant's hash has a field for each secret's id, and these.
const (
	openField   = "open"   // there is, or was, such a merchant
	closedField = "closed" // the merchant was deleted, for good
	legacyField = "legacy" // the ids of the legacy secrets, with commas
)

func merchantKey(merchant string) string { return "postern:merchant:" + merchant }

// enlist puts a secret on its merchant's list, unless the merchant is closed.
// A legacy secret also takes the legacy field, if that is still what it was, or
// already what this makes it, where a client sent the script again: so that two
// at once cannot both become the merchant's first.
var enlist = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'closed') == 1 then return 'closed' end
if ARGV[2] == 'legacy' then
  local is = redis.call('HGET', KEYS[1], 'legacy') or ''
  if is ~= ARGV[3] and is ~= ARGV[4] then return 'changed' end
  redis.call('HSET', KEYS[1], 'legacy', ARGV[4])
end
redis.call('HSET', KEYS[1], 'open', '', ARGV[1], '')
return 'ok'`)

// index is a merchant's list as it stands.
type index struct {
	ids    []string // of secrets, some of them deleted or never finished
	legacy string   // the legacy field as stored
	closed bool
	known  bool // the merchant has, or had, a secret
}

func (s *Store) index(ctx context.Context, merchant string) (index, error) {
	fields, err := s.client.HGetAll(ctx, merchantKey(merchant)).Result()
	if err != nil {
		return index{}, fmt.Errorf("list the secrets of merchant %s: %w", merchant, unavailable(err))
	}
	x := index{known: len(fields) > 0}
	for field, value := range fields {
		switch field {
		case openField:
		case closedField:
			x.closed = true
		case legacyField:
			x.legacy = value
		default:
			x.ids = append(x.ids, field)
		}
	}
	slices.Sort(x.ids)
	return x, nil
}

// List reads the live secrets of a merchant, oldest first. Records that cannot
// be used are told in broken, by id. A merchant that is not known has none, if
// the store's word can be taken: see Check.
func (s *Store) List(ctx context.Context, merchant string) (secrets []*authz.Secret, broken map[string]error, err error) {
	x, err := s.index(ctx, merchant)
	if err != nil {
		return nil, nil, err
	}
	if !x.known {
		return nil, nil, s.Check(ctx)
	}
	return s.readAll(ctx, merchant, x.ids)
}

// readAll reads a merchant's live secrets among ids, oldest first. It passes
// over another merchant's: a list carries no MAC, and two imports of one token
// at once put it on two lists.
func (s *Store) readAll(ctx context.Context, merchant string, ids []string) (secrets []*authz.Secret, broken map[string]error, err error) {
	broken = map[string]error{}
	for chunk := range slices.Chunk(ids, readChunk) {
		for i, reply := range s.getAll(ctx, chunk) {
			id := chunk[i]
			secret, err := s.secretOf(id, reply)
			switch reason := authz.ReasonOf(err); {
			case reason == authz.Unknown:
			case err == nil && (secret.Merchant != merchant || !secret.DeletedAt.IsZero()):
			case reason == authz.RecordInvalid:
				broken[id] = err
			case err != nil:
				return nil, nil, err
			default:
				secrets = append(secrets, secret)
			}
		}
	}
	slices.SortStableFunc(secrets, func(a, b *authz.Secret) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return secrets, broken, nil
}

// getAll reads records in one pipeline. Each reply has its error.
func (s *Store) getAll(ctx context.Context, ids []string) []*redis.StringCmd {
	replies := make([]*redis.StringCmd, len(ids))
	s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.Get(ctx, secretKey(id))
		}
		return nil
	})
	return replies
}
