package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// checkForm is what check prints.
type checkForm struct {
	Decision    string   `json:"decision"`
	Reason      string   `json:"reason"`
	Status      int      `json:"status"` // of the gate's own answer; 200 where the upstream answers
	Merchant    string   `json:"merchant_id,omitempty"`
	SecretID    string   `json:"secret_id,omitempty"`
	Endpoints   []string `json:"endpoints"`   // that the path may be taken for
	Permissions []string `json:"permissions"` // that they need
	Removed     []string `json:"removed"`     // JSONPaths that go from the answer
	Explanation []string `json:"explanation"`
}

func check(c *call) error {
	storing := c.storeFlags()
	catalogFile := c.flags.String("catalog", "", "`FILE` of the API's OpenAPI document")
	ip := c.flags.String("ip", "", "`ADDR` of the client")
	asJSON := c.jsonFlag()
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	if err := c.require("catalog"); err != nil {
		return err
	}
	var address netip.Addr
	if *ip != "" {
		if address, err = netip.ParseAddr(*ip); err != nil {
			return fmt.Errorf("--ip %q is no address: write 203.0.113.7 or 2001:db8::7", *ip)
		}
	}
	catalog, err := readCatalog(*catalogFile)
	if err != nil {
		return err
	}
	credential, err := c.readStdin()
	if err != nil {
		return err
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	path, _, _ := strings.Cut(args[1], "?")
	form, err := c.explain(s, catalog, credential, authz.Request{Method: args[0], Path: path, Address: address, Filter: true})
	if err != nil {
		return err
	}
	return c.printCheck(*asJSON, form)
}

func (c *call) printCheck(asJSON bool, form checkForm) error {
	if asJSON {
		if err := c.printJSON(form); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.Stdout, "%s (%s, %d)\n", form.Decision, form.Reason, form.Status)
		for _, line := range form.Explanation {
			fmt.Fprintf(c.Stdout, "  %s\n", line)
		}
	}
	if form.Decision != authz.Allow.String() {
		return errDenied
	}
	return nil
}

// explain decides as the gate does, and says why.
func (c *call) explain(s *store.Store, catalog *authz.Catalog, credential string, r authz.Request) (checkForm, error) {
	secret, err := c.find(s, credential)
	v := authz.Verdict{Reason: authz.ReasonOf(err)}
	if err == nil {
		v = secret.Authorize(catalog.Resolve(r), now())
	} else if v.Reason == authz.StoreUnavailable || v.Reason == authz.Internal {
		return checkForm{}, err
	}
	form := checkForm{
		Decision: v.Reason.Decision().String(), Reason: v.Reason.String(), Status: statusOf(v.Reason),
		Merchant: v.Merchant, SecretID: v.SecretID,
		Endpoints: []string{}, Permissions: append([]string{}, v.Permissions()...), Removed: append([]string{}, v.Remove...),
	}
	for _, e := range v.Endpoints {
		form.Endpoints = append(form.Endpoints, e.String())
	}
	form.Explanation = []string{explanations[v.Reason]}
	if v.Reason == authz.NotCatalogued {
		for _, p := range catalog.Paths(r.Path) {
			form.Explanation = append(form.Explanation, "the path is "+p+": a path is resolved first, then the method")
		}
	}
	if v.Reason == authz.RecordInvalid {
		form.Explanation = append(form.Explanation, err.Error())
	}
	if v.Reason == authz.Granted || v.Reason == authz.NotGranted {
		lines, err := c.explainGrants(s, secret, v)
		if err != nil {
			return checkForm{}, err
		}
		form.Explanation = append(form.Explanation, lines...)
	}
	return form, nil
}

// find finds the secret of a token in the store, without a cache.
func (c *call) find(s *store.Store, credential string) (*authz.Secret, error) {
	if credential == "" {
		return nil, authz.NoSecret
	}
	token, reason := authz.ParseToken(credential)
	if reason != authz.Undecided {
		return nil, reason
	}
	lookup, reason := s.Keyring().Lookup(token)
	if reason != authz.Undecided {
		return nil, reason
	}
	secret, err := s.Find(c.ctx, lookup)
	if authz.ReasonOf(err) != authz.Unknown {
		return secret, err
	}
	switch epoch, err := s.Epoch(c.ctx); {
	case err != nil:
		return nil, err
	case epoch == "":
		return nil, fmt.Errorf("%w: no secret was ever made in this store, so it cannot say that it has no such one", authz.StoreUnavailable)
	}
	return nil, authz.Unknown
}

var statuses = map[authz.Decision]int{
	authz.Allow: http.StatusOK, authz.Unauthenticated: http.StatusUnauthorized,
	authz.Forbidden: http.StatusForbidden, authz.Fail: http.StatusServiceUnavailable,
}

func statusOf(r authz.Reason) int { return statuses[r.Decision()] }

// explanations are the reasons in words.
var explanations = map[authz.Reason]string{
	authz.Granted:        "the secret has a grant for this endpoint",
	authz.Unrestricted:   "a legacy secret opens every well-formed path",
	authz.NoSecret:       "stdin holds no token",
	authz.Malformed:      "what stdin holds is no token: want 16 to 128 of A-Z a-z 0-9 . _ ~ + / = -",
	authz.Unknown:        "no such secret: it is mistyped, of another store, or was never made",
	authz.Deleted:        "the secret was deleted",
	authz.Expired:        "the secret has expired",
	authz.NotGranted:     "the endpoint is in the catalog, and the secret has no grant for it",
	authz.NotCatalogued:  "the catalog has no such endpoint: paths and methods are compared byte for byte",
	authz.IPNotAllowed:   "the secret may not be used from this address",
	authz.AddressMissing: "the secret may be used from some addresses only: name one with --ip",
	authz.RecordMissing:  "the secret was minted under this key file, and the store has lost its record: restore the store from a backup",
	authz.RecordInvalid:  "the secret's record in the store cannot be used: where that cannot be mended, delete the secret and make another",
}

// explainGrants says, for each endpoint, which grant opens it or what is
// missing.
func (c *call) explainGrants(s *store.Store, secret *authz.Secret, v authz.Verdict) ([]string, error) {
	var lines []string
	issued, err := s.Catalog(c.ctx, secret.Catalog)
	if err != nil {
		return nil, err
	}
	for _, e := range v.Endpoints {
		lines = append(lines, explainEndpoint(secret, issued, e)...)
	}
	if len(v.Remove) > 0 {
		lines = append(lines, "removed from the answer: "+strings.Join(v.Remove, ", "),
			"the route needs the response filter for that: without it the answer is 503")
	}
	if len(v.Media) > 0 {
		lines = append(lines, "an answer of "+strings.Join(v.Media, ", ")+" passes as it is")
	}
	return lines, nil
}

func explainEndpoint(secret *authz.Secret, issued store.Snapshot, e *authz.Endpoint) []string {
	if id := secret.PermissionOf(e); id != "" {
		return []string{fmt.Sprintf("%s: granted by permission %s", e, id)}
	}
	lines := []string{fmt.Sprintf("%s: needs permission %s", e, e.Permission)}
	if !slices.ContainsFunc(issued.Endpoints(), func(was string) bool { return e.Is(was) }) && len(issued.Permissions) > 0 {
		lines = append(lines, "this endpoint entered the catalog after the secret was issued: secrets never gain endpoints")
	} else if slices.ContainsFunc(secret.Grants, func(g authz.Grant) bool { return g.Permission == e.Permission }) {
		lines = append(lines, fmt.Sprintf("the secret has permission %s as it stood when it was issued, without this endpoint", e.Permission))
	}
	if e.Retired {
		return append(lines, "the endpoint is retired: it can no longer be granted")
	}
	return append(lines, fmt.Sprintf("to allow it, make a new secret with --permission %s", e.Permission))
}
