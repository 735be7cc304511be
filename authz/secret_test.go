package authz

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// priced is a catalog of one operation with these field groups.
func priced(t *testing.T, groups ...FieldGroup) *Catalog {
	t.Helper()
	c, err := Compile([]Operation{{ID: "label", Method: "GET", Path: "/label/{n}", Fields: groups}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRemovals(t *testing.T) {
	price, tax := FieldGroup{ID: "price", Paths: []string{"$.price", "$.shared"}}, FieldGroup{ID: "tax", Paths: []string{"$.tax", "$.shared"}}
	tests := []struct {
		name     string
		then     []FieldGroup // in the catalog when the secret was issued
		included []string
		now      []FieldGroup
		want     []string
	}{
		{"nothing to hide", nil, nil, nil, nil},
		{"not included", []FieldGroup{price}, nil, []FieldGroup{price}, []string{"$.price", "$.shared"}},
		{"included", []FieldGroup{price}, []string{"price"}, []FieldGroup{price}, nil},
		{"one of two included: the shared path goes", []FieldGroup{price, tax}, []string{"price"}, []FieldGroup{price, tax}, []string{"$.shared", "$.tax"}},
		{"both included", []FieldGroup{price, tax}, []string{"price", "tax"}, []FieldGroup{price, tax}, nil},
		{"the catalog gained a group", []FieldGroup{price}, []string{"price"}, []FieldGroup{price, tax}, []string{"$.shared", "$.tax"}},
		{"the catalog gained a path in an included group", []FieldGroup{{ID: "price", Paths: []string{"$.price"}}}, []string{"price"}, []FieldGroup{price}, []string{"$.shared"}},
		{"the catalog lost a group", []FieldGroup{price, tax}, []string{"price"}, []FieldGroup{price}, []string{"$.shared", "$.tax"}},
		{"the catalog lost all groups", []FieldGroup{price}, nil, nil, []string{"$.price", "$.shared"}},
		{"the catalog moved a path from an included group to one that is not", []FieldGroup{price}, []string{"price"}, []FieldGroup{{ID: "price", Paths: []string{"$.price"}}, {ID: "tax", Paths: []string{"$.shared"}}}, []string{"$.shared"}},
		{"the catalog moved a path into an included group", []FieldGroup{{ID: "price", Paths: []string{"$.price"}}, {ID: "tax", Paths: []string{"$.shared"}}}, []string{"price"}, []FieldGroup{price}, []string{"$.shared"}},
		{"the catalog narrowed an included path", []FieldGroup{{ID: "price", Paths: []string{"$.a[*].price"}}}, []string{"price"}, []FieldGroup{{ID: "price", Paths: []string{"$.a[0].price"}}}, []string{"$.a[0].price"}},
		{"the catalog gave the endpoint its first group", nil, nil, []FieldGroup{price}, []string{"$.price", "$.shared"}},
		{"the catalog gave the endpoint its first group, of a name that is included elsewhere", nil, []string{"price"}, []FieldGroup{price}, []string{"$.price", "$.shared"}},
		{"the catalog lost all groups of a secret that includes them", []FieldGroup{price, tax}, []string{"price", "tax"}, nil, nil},
		{"spelled in another way", []FieldGroup{{ID: "price", Paths: []string{"$['price']"}}}, []string{"price"}, []FieldGroup{{ID: "price", Paths: []string{"$.price"}}}, nil},
		{"the catalog renamed an included group", []FieldGroup{price}, []string{"price"}, []FieldGroup{{ID: "cost", Paths: price.Paths}}, []string{"$.price", "$.shared"}},
	}
	for _, tt := range tests {
		c := priced(t, tt.then...)
		s := NewSecret(Secret{Grants: []Grant{NewGrant(&c.Permissions[0], tt.included)}})
		v := s.Authorize(priced(t, tt.now...).Resolve(Request{Method: "GET", Path: "/label/1", Filter: true}), time.Now())
		if v.Reason != Granted || !slices.Equal(v.Remove, tt.want) {
			t.Errorf("%s: %v, remove %v, want granted, remove %v", tt.name, v.Reason, v.Remove, tt.want)
		}
		v = s.Authorize(priced(t, tt.now...).Resolve(Request{Method: "GET", Path: "/label/1"}), time.Now())
		if want := map[bool]Reason{true: FilterMissing, false: Granted}[len(tt.want) > 0]; v.Reason != want {
			t.Errorf("%s: without a filter on the route: %v, want %v", tt.name, v.Reason, want)
		}
	}
}

// TestRemovalsOfSeveralGrants covers requests that more than one grant opens.
func TestRemovalsOfSeveralGrants(t *testing.T) {
	price, tax := FieldGroup{ID: "price", Paths: []string{"$.price"}}, FieldGroup{ID: "tax", Paths: []string{"$.tax"}}
	pdf, png := "application/pdf", "image/png"
	c, err := Compile([]Operation{
		{ID: "label", Method: "GET", Path: "/orders/{n}/label", Fields: []FieldGroup{price}, Media: []string{pdf, png}},
		{ID: "return", Method: "GET", Path: "/orders/returns/{id}", Fields: []FieldGroup{tax}, Media: []string{png}},
	})
	if err != nil {
		t.Fatal(err)
	}
	label, other := c.Permission("label"), c.Permission("return")
	tests := []struct {
		name          string
		grants        []Grant
		path          string
		remove, media []string
	}{
		{"one endpoint", []Grant{NewGrant(label, nil)}, "/orders/1/label", []string{"$.price"}, []string{pdf, png}},
		{"ambiguous: both leave out", []Grant{NewGrant(label, nil), NewGrant(other, nil)}, "/orders/returns/label", []string{"$.price", "$.tax"}, []string{png}},
		{"ambiguous: one leaves out", []Grant{NewGrant(label, []string{"price"}), NewGrant(other, nil)}, "/orders/returns/label", []string{"$.tax"}, []string{png}},
		{"ambiguous: none leaves out", []Grant{NewGrant(label, []string{"price"}), NewGrant(other, []string{"tax"})}, "/orders/returns/label", nil, nil},
		{"two grants of one endpoint, the first includes", []Grant{NewGrant(label, []string{"price"}), NewGrant(label, nil)}, "/orders/1/label", []string{"$.price"}, []string{pdf, png}},
		{"two grants of one endpoint, the last includes", []Grant{NewGrant(label, nil), NewGrant(label, []string{"price"})}, "/orders/1/label", []string{"$.price"}, []string{pdf, png}},
	}
	for _, tt := range tests {
		v := NewSecret(Secret{Grants: tt.grants}).Authorize(c.Resolve(Request{Method: "GET", Path: tt.path, Filter: true}), time.Now())
		if slices.Sort(v.Remove); v.Reason != Granted || !slices.Equal(v.Remove, tt.remove) || !slices.Equal(v.Media, tt.media) {
			t.Errorf("%s: %v, remove %v, pass %v, want granted, remove %v, pass %v", tt.name, v.Reason, v.Remove, v.Media, tt.remove, tt.media)
		}
	}
	v := NewSecret(Secret{Unrestricted: true}).Authorize(c.Resolve(Request{Method: "GET", Path: "/orders/1/label"}), time.Now())
	if v.Reason != Unrestricted || len(v.Remove) > 0 || len(v.Media) > 0 {
		t.Errorf("legacy: %v, remove %v, want all to stay", v.Reason, v.Remove)
	}
}

// TestGrantNeverWidens covers what catalogs may become after a secret was
// issued.
func TestGrantNeverWidens(t *testing.T) {
	issued := compile(t, "GET /orders/{n}", "GET /book")
	grant := NewGrant(issued.Permission("GET_/orders/_n_"), nil)
	s := NewSecret(Secret{Grants: []Grant{grant}})
	op := func(id, permission, method, path string) Operation {
		return Operation{ID: id, Permission: permission, Method: method, Path: path}
	}
	same := op("GET_/orders/_n_", "", "GET", "/orders/{n}")
	tests := []struct {
		name         string
		catalog      []Operation
		method, path string
		want         Reason
	}{
		{"as issued", []Operation{same}, "GET", "/orders/1", Granted},
		{"under another parameter name and id", []Operation{op("fetch", "", "GET", "/orders/{number}")}, "GET", "/orders/1", Granted},
		{"its id reused for another path", []Operation{op("GET_/orders/_n_", "", "GET", "/invoices/{n}")}, "GET", "/invoices/1", NotGranted},
		{"its id reused for another method", []Operation{op("GET_/orders/_n_", "", "DELETE", "/orders/{n}")}, "DELETE", "/orders/1", NotGranted},
		{"a new operation in its permission", []Operation{same, op("new", "GET_/orders/_n_", "GET", "/orders/{n}/label")}, "GET", "/orders/1/label", NotGranted},
		{"a more concrete path added", []Operation{same, op("search", "", "GET", "/orders/search")}, "GET", "/orders/search", NotGranted},
		{"its parameter widened: what it covered", []Operation{{ID: "a", Method: "GET", Path: "/orders/{n}", Chars: map[string]string{"n": ":"}}}, "GET", "/orders/1", Granted},
		{"its parameter widened: what it did not", []Operation{{ID: "a", Method: "GET", Path: "/orders/{n}", Chars: map[string]string{"n": ":"}}}, "GET", "/orders/1:cancel", NotGranted},
		{"gone from the catalog", []Operation{op("book", "", "GET", "/book")}, "GET", "/orders/1", NotCatalogued},
		{"retired", []Operation{{ID: "a", Method: "GET", Path: "/orders/{n}", Retired: true}}, "GET", "/orders/1", Granted},
		{"no longer grantable at all", []Operation{{ID: "a", Method: "GET", Path: "/orders/{n}", NotGrantable: true}}, "GET", "/orders/1", NotCatalogued},
	}
	for _, tt := range tests {
		c, err := Compile(tt.catalog)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := s.Authorize(c.Resolve(Request{Method: tt.method, Path: tt.path}), time.Now()).Reason; got != tt.want {
			t.Errorf("%s: %s %s = %v, want %v", tt.name, tt.method, tt.path, got, tt.want)
		}
	}
}

// TestZeroValuesDeny keeps DESIGN's first promise: a nil, a zero value and a
// forgotten branch deny.
func TestZeroValuesDeny(t *testing.T) {
	c := compile(t, "GET /a")
	r := Request{Method: "GET", Path: "/a"}
	unprepared := &Secret{Grants: []Grant{NewGrant(&c.Permissions[0], nil)}}
	for name, v := range map[string]Verdict{
		"zero verdict":               {},
		"nil secret":                 (*Secret)(nil).Authorize(c.Resolve(r), time.Now()),
		"zero secret":                (&Secret{}).Authorize(c.Resolve(r), time.Now()),
		"secret not of NewSecret":    unprepared.Authorize(c.Resolve(r), time.Now()),
		"nil catalog":                NewSecret(*unprepared).Authorize((*Catalog)(nil).Resolve(r), time.Now()),
		"zero catalog":               NewSecret(*unprepared).Authorize((&Catalog{}).Resolve(r), time.Now()),
		"zero request":               NewSecret(*unprepared).Authorize(c.Resolve(Request{}), time.Now()),
		"zero request, legacy":       NewSecret(Secret{Unrestricted: true}).Authorize(c.Resolve(Request{}), time.Now()),
		"tombstone that opens all":   NewSecret(Secret{Unrestricted: true, DeletedAt: time.Now()}).Authorize(c.Resolve(r), time.Now()),
		"grant without endpoints":    NewSecret(Secret{Grants: []Grant{{Permission: c.Permissions[0].ID}}}).Authorize(c.Resolve(r), time.Now()),
		"reason out of range":        {Reason: 200},
		"granted on another catalog": NewSecret(*unprepared).Authorize(compile(t, "GET /b").Resolve(r), time.Now()),
	} {
		if v.Reason.Decision() == Allow {
			t.Errorf("%s: %v, want a denial", name, v.Reason)
		}
	}
	if v := NewSecret(*unprepared).Authorize(c.Resolve(r), time.Now()); v.Reason != Granted {
		t.Errorf("control: %v, want granted", v.Reason)
	}
}

func TestExpiryAndAddress(t *testing.T) {
	c := compile(t, "GET /a")
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	prefixes, err := ParseAllowIPs([]string{"192.0.2.0/24", "2001:db8::/32", "::ffff:198.51.100.7"})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSecret(Secret{ExpiresAt: at, AllowIPs: prefixes, Grants: []Grant{NewGrant(&c.Permissions[0], nil)}})
	tests := []struct {
		name    string
		address string
		now     time.Time
		want    Reason
	}{
		{"just before its end", "192.0.2.1", at.Add(-1), Granted},
		{"at its end", "192.0.2.1", at, Expired},
		{"after its end, from elsewhere", "203.0.113.1", at.Add(time.Hour), Expired},
		{"last address of the network", "192.0.2.255", at.Add(-1), Granted},
		{"beyond the network", "192.0.3.0", at.Add(-1), IPNotAllowed},
		{"IPv6", "2001:db8:1::1", at.Add(-1), Granted},
		{"IPv6 beyond", "2001:db9::1", at.Add(-1), IPNotAllowed},
		{"IPv6 with a zone", "2001:db8::1%eth0", at.Add(-1), Granted},
		{"mapped", "::ffff:192.0.2.1", at.Add(-1), Granted},
		{"mapped beyond", "::ffff:192.0.3.1", at.Add(-1), IPNotAllowed},
		{"allowed as mapped, used as IPv4", "198.51.100.7", at.Add(-1), Granted},
		{"unknown", "", at.Add(-1), AddressMissing},
	}
	for _, tt := range tests {
		address, _ := netip.ParseAddr(tt.address)
		if got := s.Authorize(c.Resolve(Request{Method: "GET", Path: "/a", Address: address}), tt.now).Reason; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestDraft(t *testing.T) {
	c, err := Compile([]Operation{
		{ID: "getLabel", Method: "GET", Path: "/label", Fields: []FieldGroup{{ID: "price", Paths: []string{"$.p"}}}},
		{ID: "track", Method: "GET", Path: "/track"}, {ID: "old", Method: "GET", Path: "/old", Retired: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	good := func() Draft {
		return Draft{Merchant: "m-1", Description: "Warehouse", Permissions: []Choice{ParseChoice("getLabel+price")}, AllowIPs: []string{"10.0.0.0/8"}}
	}
	tests := []struct {
		name   string
		change func(*Draft)
		want   string // in the error; "" accepts
	}{
		{"good", func(*Draft) {}, ""},
		{"200 characters", func(d *Draft) { d.Description = strings.Repeat("é", 200) }, ""},
		{"201 characters", func(d *Draft) { d.Description = strings.Repeat("é", 201) }, "has 201 characters"},
		{"no description", func(d *Draft) { d.Description = " " }, "description: a description is needed"},
		{"line feed", func(d *Draft) { d.Description = "a\nb" }, "U+000A"},
		{"escape", func(d *Draft) { d.Description = "a\x1bb" }, "U+001B"},
		{"C1 control", func(d *Draft) { d.Description = "a\u009bb" }, "U+009B"},
		{"right-to-left override", func(d *Draft) { d.Description = "a\u202eb" }, "U+202E"},
		{"isolate", func(d *Draft) { d.Description = "a\u2066b" }, "U+2066"},
		{"line separator", func(d *Draft) { d.Description = "a\u2028b" }, "U+2028"},
		{"no UTF-8", func(d *Draft) { d.Description = "a\xff" }, "not valid UTF-8"},
		{"markup is text", func(d *Draft) { d.Description = "<script>'\"&" }, ""},
		{"no permission", func(d *Draft) { d.Permissions = nil }, "at least one permission is needed; known are: getLabel, track"},
		{"unknown permission", func(d *Draft) { d.Permissions = []Choice{{ID: "nope"}} }, `no permission is called "nope"; known are: getLabel, track`},
		{"retired permission", func(d *Draft) { d.Permissions = []Choice{{ID: "old"}} }, `permission "old" is retired`},
		{"permission twice", func(d *Draft) { d.Permissions = []Choice{{ID: "track"}, {ID: "track"}} }, "named twice"},
		{"unknown group", func(d *Draft) { d.Permissions = []Choice{ParseChoice("getLabel+cost")} }, `no field group "cost"; it has: price`},
		{"group of none", func(d *Draft) { d.Permissions = []Choice{ParseChoice("track+price")} }, "has no field groups"},
		{"group twice", func(d *Draft) { d.Permissions = []Choice{ParseChoice("getLabel+price+price")} }, "twice"},
		{"merchant with a space", func(d *Draft) { d.Merchant = "m 1" }, `merchant id "m 1"`},
		{"merchant of dots", func(d *Draft) { d.Merchant = ".." }, `merchant id ".."`},
		{"no CIDR", func(d *Draft) { d.AllowIPs = []string{"10.0.0.0/33"} }, `"10.0.0.0/33" is no IP address and no CIDR`},
		{"a zone", func(d *Draft) { d.AllowIPs = []string{"fe80::1%eth0"} }, "is no IP address"},
		{"bits beyond the prefix", func(d *Draft) { d.AllowIPs = []string{"10.1.0.0/8"} }, "write 10.0.0.0/8"},
		{"mapped network", func(d *Draft) { d.AllowIPs = []string{"::ffff:10.0.0.0/104"} }, ""},
		{"mapped network of more", func(d *Draft) { d.AllowIPs = []string{"::ffff:0.0.0.0/64"} }, "write the IPv4 CIDR"},
		{"in the past", func(d *Draft) { d.ExpiresAt = now.Add(-time.Second) }, "in the past"},
		{"this moment", func(d *Draft) { d.ExpiresAt = now }, "in the past"},
	}
	for _, tt := range tests {
		d := good()
		tt.change(&d)
		_, err := d.Secret(c, now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	_, err = Draft{Merchant: "m 1", AllowIPs: []string{"x"}}.Secret(c, now)
	if faults, ok := err.(Faults); !ok || len(faults) != 4 {
		t.Errorf("a draft with four faults: %v, want all four", err)
	}
}
