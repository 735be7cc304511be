package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// draftFlags are the flags that describe a new secret.
type draftFlags struct {
	catalog, merchant, description, expires *string
	permissions, allowIPs                   *list
}

func (c *call) draftFlags() draftFlags {
	return draftFlags{
		catalog:     c.flags.String("catalog", "", "`FILE` of the API's OpenAPI document"),
		merchant:    c.flags.String("merchant", "", "`ID` of the account that owns the secret"),
		description: c.flags.String("description", "", "what the secret is for: 1 to 200 characters"),
		expires:     c.flags.String("expires", "", "when it ends: 90d, 12h, 2s or RFC 3339; never, if not given"),
		permissions: c.list("permission", "`ID[+FIELDGROUP]...` to grant"),
		allowIPs:    c.list("allow-ip", "`CIDR` or address that it may be used from; any, if none is given"),
	}
}

// draft is the secret that the flags describe. All that the catalog and the
// rules for secrets refuse of it is told at once.
func (c *call) draft(f draftFlags) (authz.Secret, *authz.Catalog, error) {
	if err := c.require("catalog", "merchant"); err != nil {
		return authz.Secret{}, nil, err
	}
	catalog, err := readCatalog(*f.catalog)
	if err != nil {
		return authz.Secret{}, nil, err
	}
	made := now()
	expires, err := c.expiry(*f.expires, made)
	if err != nil {
		return authz.Secret{}, nil, err
	}
	d := authz.Draft{Merchant: *f.merchant, Description: *f.description, AllowIPs: *f.allowIPs, ExpiresAt: expires}
	for _, text := range *f.permissions {
		d.Permissions = append(d.Permissions, authz.ParseChoice(text))
	}
	secret, err := d.Secret(catalog, made)
	if err != nil {
		return authz.Secret{}, nil, fmt.Errorf("nothing was stored:\n%w", err)
	}
	return secret, catalog, nil
}

func secretCreate(c *call) error {
	flags, storing := c.draftFlags(), c.storeFlags()
	asJSON := c.jsonFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	secret, catalog, err := c.draft(flags)
	if err != nil {
		return err
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	token, stored, err := s.Create(c.ctx, secret)
	if err != nil {
		return err
	}
	c.saveCatalog(s, catalog)
	c.warnOfOldCatalogs(s, stored)
	c.warnOfFields(catalog, stored)
	return c.printSecret(*asJSON, token, stored)
}

// saveCatalog keeps what the catalog offered when a secret was made. It
// explains, and decides nothing: the secret stands without it.
func (c *call) saveCatalog(s *store.Store, catalog *authz.Catalog) {
	if err := s.SaveCatalog(c.ctx, catalog); err != nil {
		c.warn("%v: check cannot tell which endpoints came later", err)
	}
}

// warnOfFields warns of permissions that the secret has without their field
// groups.
func (c *call) warnOfFields(catalog *authz.Catalog, secret *authz.Secret) {
	for _, g := range secret.Grants {
		for _, group := range catalog.Permission(g.Permission).Fields {
			if !slices.Contains(g.Fields, group.ID) {
				c.warn("answers of %s hold %s, which this secret does not include: it is removed from them, and where the route has no response filter they are 503 instead", g.Permission, group.ID)
			}
		}
	}
}

func secretImport(c *call) error {
	flags, storing := c.draftFlags(), c.storeFlags()
	sum := c.flags.String("sha256", "", "`HEX` SHA-256 of the token")
	stdin := c.flags.Bool("token-stdin", false, "read the token on stdin")
	asJSON := c.jsonFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	if (*sum != "") == *stdin {
		return usagef("give one of --sha256 and --token-stdin")
	}
	secret, catalog, err := c.draft(flags)
	if err != nil {
		return err
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	digest, err := c.importedSum(*sum, s.Keyring())
	if err != nil {
		return err
	}
	stored, err := s.Import(c.ctx, secret, digest)
	if err != nil {
		return err
	}
	c.saveCatalog(s, catalog)
	return c.printSecret(*asJSON, authz.Token{}, stored)
}

// importedSum is the SHA-256 of a token minted elsewhere: as given in hex, or
// of the token on stdin.
func (c *call) importedSum(text string, keys *authz.Keyring) (sum [sha256.Size]byte, err error) {
	if text != "" {
		bytes, err := hex.DecodeString(text)
		if err != nil || len(bytes) != sha256.Size {
			return sum, errors.New("--sha256 is not 64 hexadecimal digits: give the token's SHA-256 in hex, or the token with --token-stdin") // not quoted: it may be the token
		}
		return [sha256.Size]byte(bytes), nil
	}
	token, err := c.readToken()
	if err != nil {
		return sum, err
	}
	if keys.Ours(token) {
		return sum, errors.New("the token has the form of those that this key file mints, so it would never be looked up: use a key file with another --prefix")
	}
	return sha256.Sum256([]byte(token.Reveal())), nil
}

func secretList(c *call) error {
	storing := c.storeFlags()
	merchant := c.flags.String("merchant", "", "`ID` of the account")
	asJSON := c.jsonFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.require("merchant"); err != nil {
		return err
	}
	if err := authz.CheckMerchant(*merchant); err != nil {
		return err
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	secrets, broken, err := s.List(c.ctx, *merchant)
	if err != nil {
		return err
	}
	for _, err := range broken {
		c.warn("%v", unusable(err))
	}
	forms, err := s.Forms(c.ctx, secrets...)
	if err != nil {
		return err
	}
	return c.printList(*asJSON, forms)
}

func secretShow(c *call) error {
	storing := c.storeFlags()
	asJSON := c.jsonFlag()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	secret, err := c.read(s, args[0])
	if err != nil {
		return err
	}
	forms, err := s.Forms(c.ctx, secret)
	if err != nil {
		return err
	}
	return c.printForm(*asJSON, forms[0])
}

// read reads a live secret.
func (c *call) read(s *store.Store, id string) (*authz.Secret, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	secret, err := s.Read(c.ctx, id)
	switch {
	case authz.ReasonOf(err) == authz.Unknown:
		return nil, noSuchSecret(id)
	case authz.ReasonOf(err) == authz.RecordInvalid:
		return nil, unusable(err)
	case err != nil:
		return nil, err
	case !secret.DeletedAt.IsZero():
		return nil, fmt.Errorf("secret %s was deleted at %s", id, secret.DeletedAt.Format(time.RFC3339))
	}
	return secret, nil
}

// unusable is the error of a record that cannot be used.
func unusable(err error) error {
	return fmt.Errorf("%w: its requests get 503; where that cannot be mended, delete it and make another", err)
}

func noSuchSecret(id string) error {
	return fmt.Errorf("there is no secret %s: postern secret list --merchant ID shows the ids", id)
}

// checkID refuses what is no id of a secret without showing it: it may be a
// token.
func checkID(id string) error {
	if bytes, err := hex.DecodeString(id); err != nil || len(bytes) != 16 || strings.ToLower(id) != id {
		return errors.New("the ID is not that of a secret, which has 32 hexadecimal digits: postern secret list --merchant ID shows the ids, and postern secret delete --token-stdin takes a token")
	}
	return nil
}

func secretDelete(c *call) error {
	storing, revoking := c.storeFlags(), c.revokeFlags()
	stdin := c.flags.Bool("token-stdin", false, "read the token on stdin, instead of an ID: for one that leaked")
	args, err := c.parseAny()
	if err != nil {
		return err
	}
	if *stdin != (len(args) == 0) || len(args) > 1 {
		return usagef("give one ID, or --token-stdin")
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	ids, minted := args, false
	if *stdin {
		if ids, minted, err = c.idsOfToken(s.Keyring()); err != nil {
			return err
		}
	} else if err := checkID(args[0]); err != nil {
		return err
	}
	return c.deleteFirst(s, ids, minted, revoking)
}

// idsOfToken are the ids that the token on stdin may be stored under, and
// whether it was minted here.
func (c *call) idsOfToken(keys *authz.Keyring) (ids []string, minted bool, err error) {
	token, err := c.readToken()
	if err != nil {
		return nil, false, err
	}
	lookup, reason := keys.Lookup(token)
	if reason != authz.Undecided {
		return nil, false, errors.New("the token was not minted under this key file: it is mistyped, or of another store")
	}
	for _, d := range lookup.All() {
		ids = append(ids, d.ID())
	}
	return ids, lookup.Minted, nil
}
