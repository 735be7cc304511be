package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxDescription bounds a description, in characters.
const maxDescription = 200

// Draft is what a merchant asks of a new secret.
type Draft struct {
	Merchant    string
	Description string
	Permissions []Choice
	AllowIPs    []string  // CIDRs or addresses, IPv4 or IPv6; none: any address
	ExpiresAt   time.Time // zero: never
}

// Choice is a permission that was ticked, with the field groups ticked under
// it.
type Choice struct {
	ID     string   `json:"id"`
	Fields []string `json:"fields"`
}

// ParseChoice reads `permission` or `permission+group+group`.
func ParseChoice(text string) Choice {
	parts := strings.Split(text, "+")
	return Choice{ID: parts[0], Fields: parts[1:]}
}

// Fault is what is wrong with one field of a draft.
type Fault struct {
	Field string `json:"field"` // as the management API spells it
	Text  string `json:"detail"`
}

// Faults is the error of a draft that is refused: all that is wrong with it.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Field + ": " + f.Text
	}
	return strings.Join(lines, "\n")
}

// add adds an error of a field, or each of several that were joined.
func (fs *Faults) add(field string, err error) {
	if err == nil {
		return
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		*fs = append(*fs, Fault{Field: field, Text: err.Error()})
	}
}

// Secret is the secret that the draft asks for, as the catalog stands, without
// an id. Its error is [Faults].
func (d Draft) Secret(c *Catalog, now time.Time) (Secret, error) {
	var faults Faults
	grants, err := c.grants(d.Permissions)
	faults.add("permissions", err)
	prefixes, err := ParseAllowIPs(d.AllowIPs)
	faults.add("allow_ips", err)
	faults.add("merchant", CheckMerchant(d.Merchant))
	faults.add("description", checkDescription(d.Description))
	faults.add("expires_at", checkExpiry(d.ExpiresAt, now))
	if len(faults) > 0 {
		return Secret{}, faults
	}
	return Secret{
		Merchant: d.Merchant, Description: d.Description, CreatedAt: now, ExpiresAt: d.ExpiresAt,
		AllowIPs: prefixes, Catalog: c.Hash(), Grants: grants,
	}, nil
}

// grants spells out the chosen permissions.
func (c *Catalog) grants(choices []Choice) ([]Grant, error) {
	if len(choices) == 0 {
		return nil, fmt.Errorf("at least one permission is needed; known are: %s", c.known())
	}
	var grants []Grant
	var unknown, retired []string
	var faults []error
	named := map[string]bool{}
	for _, choice := range choices {
		p := c.Permission(choice.ID)
		switch {
		case named[choice.ID]:
			faults = append(faults, fmt.Errorf("permission %q is named twice", choice.ID))
		case p == nil:
			unknown = append(unknown, strconv.Quote(choice.ID))
		case p.Retired:
			retired = append(retired, strconv.Quote(choice.ID))
		default:
			if err := p.checkFields(choice.Fields); err != nil {
				faults = append(faults, err)
			}
			grants = append(grants, NewGrant(p, choice.Fields))
		}
		named[choice.ID] = true
	}
	if len(retired) > 0 {
		faults = append(faults, fmt.Errorf("permission %s is retired: secrets that have it keep it, and no other can get it; known are: %s", strings.Join(retired, " and "), c.known()))
	}
	if len(unknown) > 0 {
		faults = append(faults, fmt.Errorf("no permission is called %s; known are: %s", strings.Join(unknown, " or "), c.known()))
	}
	return grants, errors.Join(faults...)
}

// known lists the permissions that can be granted.
func (c *Catalog) known() string {
	var ids []string
	for _, p := range c.Permissions {
		if !p.Retired {
			ids = append(ids, p.ID)
		}
	}
	return strings.Join(ids, ", ")
}

func (p *Permission) checkFields(groups []string) error {
	known := make([]string, len(p.Fields))
	for i, g := range p.Fields {
		known[i] = g.ID
	}
	for i, id := range groups {
		switch {
		case slices.Contains(groups[:i], id):
			return fmt.Errorf("permission %q names field group %q twice", p.ID, id)
		case len(known) == 0:
			return fmt.Errorf("permission %q has no field groups, so %q cannot be included", p.ID, id)
		case !slices.Contains(known, id):
			return fmt.Errorf("permission %q has no field group %q; it has: %s", p.ID, id, strings.Join(known, ", "))
		}
	}
	return nil
}

// CheckMerchant says what is wrong with a merchant's id: it is 1 to 128 of
// A-Z a-z 0-9 . _ ~ - and not only dots.
func CheckMerchant(id string) error {
	if !isValue(id, valueChars) {
		return fmt.Errorf("merchant id %q: use 1 to %d of A-Z a-z 0-9 . _ ~ - and not only dots", id, maxValue)
	}
	return nil
}

// checkDescription says what is wrong with a description: it has 1 to 200
// characters, none of which is a control or a bidirectional override.
func checkDescription(text string) error {
	switch {
	case !strings.ContainsFunc(text, visible):
		return errors.New("a description is needed: say what the secret is for")
	case !utf8.ValidString(text):
		return errors.New("the description is not valid UTF-8")
	case utf8.RuneCountInString(text) > maxDescription:
		return fmt.Errorf("the description has %d characters: at most %d", utf8.RuneCountInString(text), maxDescription)
	}
	for _, r := range text {
		if misleads(r) {
			return fmt.Errorf("the description holds the character %U, which can hide or reorder text: leave it out", r)
		}
	}
	return nil
}

// visible reports whether a character shows something: blanks do not, nor do
// such as zero-width spaces.
func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// misleads reports whether a character can hide or reorder text.
func misleads(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// ParseAllowIPs reads CIDRs and single addresses. IPv4-mapped IPv6 becomes
// IPv4. An address with bits beyond its prefix is refused: it may be a
// mistake.
func ParseAllowIPs(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var faults []error
	for _, text := range texts {
		p, err := parseAllowIP(text)
		prefixes, faults = append(prefixes, p), append(faults, err)
	}
	return prefixes, errors.Join(faults...)
}

func parseAllowIP(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no IP address and no CIDR: write 203.0.113.7, or 203.0.113.0/24 for all from 203.0.113.0 to 203.0.113.255", text)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q holds more than the IPv4-mapped addresses: write the IPv4 CIDR", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its prefix: write %s", text, p.Masked())
	}
	return p, nil
}

func checkExpiry(at, now time.Time) error {
	if !at.IsZero() && !at.After(now) {
		return errors.New("it is in the past: name a moment to come")
	}
	return nil
}
