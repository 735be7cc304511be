//go:build !noadmin

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
)

var adminCommands = []command{
	{"admin token new", "", "add a token for the management API and page", adminTokenNew},
	{"admin", "", "serve the management API and page", adminServe},
	{"audit verify", "FILE...", "check that an audit log is whole", auditVerify},
}

// guardFlags are the flags that say who may use the management API.
type guardFlags struct {
	tokens string
	issuer access.IssuerOptions
}

func (c *call) guardFlags() *guardFlags {
	f := &guardFlags{}
	c.flags.StringVar(&f.tokens, "tokens", "", "`FILE` of tokens, made by admin token new; read again when it changes")
	c.flags.StringVar(&f.issuer.URL, "oidc-issuer", "", "`URL` of an OIDC issuer whose tokens are taken too, or instead")
	c.flags.StringVar(&f.issuer.Audience, "oidc-audience", "", "`AUD` that its tokens must be for")
	c.flags.StringVar(&f.issuer.JWKS, "oidc-jwks", "", "`FILE` or URL of its keys; it is asked, if not given")
	c.flags.StringVar(&f.issuer.Operator, "oidc-operator", "", "`CLAIM=VALUE` of its tokens that makes an operator")
	c.flags.StringVar(&f.issuer.Viewer, "oidc-viewer", "", "`CLAIM=VALUE` that makes a viewer")
	c.flags.StringVar(&f.issuer.Merchant, "oidc-merchant", "", "`CLAIM` that holds the id of a merchant, and makes that one")
	return f
}

// guard fails where nobody could be recognised.
func (f *guardFlags) guard() (g access.Guard, err error) {
	if f.tokens == "" && f.issuer.URL == "" {
		return g, usagef("--tokens (or POSTERN_TOKENS) is missing, and no --oidc-issuer is given: without one of them nobody could be told from anybody")
	}
	if f.issuer.URL == "" && f.issuer != (access.IssuerOptions{}) {
		return g, usagef("--oidc-issuer is missing: the other --oidc flags need it")
	}
	if f.tokens != "" {
		if g.Tokens, err = access.NewTokens(f.tokens, time.Now()); err != nil {
			return g, err
		}
	}
	if f.issuer.URL != "" {
		g.Issuer, err = access.NewIssuer(f.issuer)
	}
	return g, err
}

func adminServe(c *call) error {
	storing, guarding, binding := c.storeFlags(), c.guardFlags(), c.bindingFlags()
	var o admin.Options
	c.flags.StringVar(&o.CatalogFile, "catalog", "", "`FILE` of the API's OpenAPI document; read again when it changes, and on SIGHUP")
	listen := c.list("listen", "`ADDR` to serve on: host:port or unix:/path")
	hosts := c.list("host", "`NAME` beyond loopback that requests may be for")
	auditFile := c.flags.String("audit", "", "`FILE` of the audit log; stdout, if not given")
	c.flags.DurationVar(&o.DrainTimeout, "drain-timeout", 5*time.Second, "how long requests under way may take after SIGTERM")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.require("catalog", "redis", "key-file", "listen"); err != nil {
		return err
	}
	var err error
	if o.Binding, err = binding.options(); err != nil {
		return err
	}
	if o.Guard, err = guarding.guard(); err != nil {
		return err
	}
	log := c.logger()
	if o.Audit, err = c.openAudit(*auditFile, log); err != nil {
		return err
	}
	defer o.Audit.Close()
	o.Listen, o.Hosts, o.Log, o.KeyFile, o.ReadCatalog = *listen, lower(*hosts), log, *storing.keyFile, readCatalog
	return c.serveAdmin(o, storing)
}

func lower(hosts []string) (all []string) {
	for _, h := range hosts {
		all = append(all, strings.ToLower(h))
	}
	return all
}

// openAudit opens the audit log. Without a file its lines go to stdout, where
// nothing else does.
func (c *call) openAudit(file string, log *slog.Logger) (*audit.Log, error) {
	if file == "" {
		log.Warn("the audit log goes to stdout: with --audit FILE its lines are on disk before requests are answered")
		return audit.To(c.Stdout), nil
	}
	return audit.Open(file)
}

// serveAdmin wires the server and runs it until the context ends.
func (c *call) serveAdmin(o admin.Options, storing storeFlags) error {
	o.ReadKeyring = func(file string) (*authz.Keyring, error) {
		return readKeyring(file, func(format string, a ...any) { o.Log.Warn(fmt.Sprintf(format, a...)) })
	}
	var closer io.Closer
	var err error
	if o.Store, closer, err = c.open(storing); err != nil {
		return err
	}
	defer closer.Close()
	return admin.Run(c.ctx, o)
}

func adminTokenNew(c *call) error {
	file := c.flags.String("tokens", "", "`FILE` of tokens; made, if it is not there")
	name := c.flags.String("name", "", "`NAME` of who will use it, for the audit log")
	role := c.flags.String("role", "", "`ROLE`: operator, viewer or merchant:ID")
	expires := c.flags.String("expires", "", "when it ends: 90d, 12h or RFC 3339; never, if not given")
	asJSON := c.jsonFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.require("tokens", "name", "role"); err != nil {
		return err
	}
	made := now()
	ends, err := c.expiry(*expires, made)
	if err != nil {
		return err
	}
	parsed, err := access.ParseRole(*role)
	if err != nil {
		return usageError{err}
	}
	text, err := access.AddToken(*file, *name, parsed, ends, made)
	if err != nil {
		return err
	}
	if !*asJSON {
		fmt.Fprintln(c.Stderr, "copy the token now: it is shown this once")
		_, err = fmt.Fprintln(c.Stdout, text)
		return err
	}
	form := struct {
		Name      string     `json:"name"`
		Role      string     `json:"role"`
		Token     string     `json:"token"`
		CreatedAt time.Time  `json:"created_at"`
		ExpiresAt *time.Time `json:"expires_at"` // null: never
	}{Name: *name, Role: parsed.String(), Token: text, CreatedAt: made}
	if !ends.IsZero() {
		form.ExpiresAt = &ends
	}
	return c.printJSON(form)
}

func auditVerify(c *call) error {
	asJSON := c.jsonFlag()
	files, err := c.parseAny()
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return usagef("name the audit log's file, or its files, oldest first")
	}
	report, err := audit.Verify(files)
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		return fmt.Errorf("the audit log cannot be read: %w", err)
	}
	if err != nil {
		return fmt.Errorf("the audit log was changed, or is not whole: %w", err)
	}
	if !report.Anchored {
		c.warn("there is no %s.head: whether entries were cut off at the end cannot be told; compare the head with one that you kept", files[len(files)-1])
	}
	if report.First > 1 {
		c.warn("it begins with entry %d: name the files before this one too", report.First)
	}
	if *asJSON {
		return c.printJSON(report)
	}
	fmt.Fprintf(c.Stdout, "whole: %d entries, from %d to %d\nhead %s\n", report.Entries, report.First, report.Last, report.Head)
	return nil
}
