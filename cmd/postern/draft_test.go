package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const known = "known are: retrieveQuote, createOrder, getOrder, updateOrder,"

// drafts is what a new secret may be asked for. A row without texts is made.
var drafts = []struct {
	name  string
	args  []string // beside a merchant, a description and a permission, which they replace
	texts []string
}{
	{"description of 200 characters", []string{"--description", strings.Repeat("ü", 200)}, nil},
	{"description of 201 characters", []string{"--description", strings.Repeat("ü", 201)}, []string{"description: the description has 201 characters: at most 200"}},
	{"no description", []string{"--description", ""}, []string{"description: a description is needed: say what the secret is for"}},
	{"description of spaces", []string{"--description", " \u00a0\u3000"}, []string{"description: a description is needed"}},
	{"description of what cannot be seen", []string{"--description", "\u200b\ufeff\u00ad\u2060"}, []string{"description: a description is needed"}},
	{"description with a line feed", []string{"--description", "a\nb"}, []string{"description: the description holds the character U+000A", "leave it out"}},
	{"description with a tab", []string{"--description", "a\tb"}, []string{"U+0009"}},
	{"description with an escape", []string{"--description", "a\x1b[2Jb"}, []string{"U+001B"}},
	{"description with a C1 control", []string{"--description", "a\u0085b"}, []string{"U+0085"}},
	{"description with a line separator", []string{"--description", "a\u2028b"}, []string{"U+2028"}},
	{"description with a right-to-left override", []string{"--description", "a\u202eb"}, []string{"U+202E", "can hide or reorder text"}},
	{"description with a right-to-left isolate", []string{"--description", "a\u2067b"}, []string{"U+2067"}},
	{"description with an Arabic letter mark", []string{"--description", "a\u061cb"}, []string{"U+061C"}},
	{"description that is not UTF-8", []string{"--description", "a\xffb"}, []string{"description: the description is not valid UTF-8"}},
	{"description of an emoji of many parts", []string{"--description", "👩‍🚀"}, nil},

	{"no permission", []string{"--permission"}, []string{"permissions: at least one permission is needed; " + known}},
	{"unknown permission", []string{"--permission", "getOrders"}, []string{`permissions: no permission is called "getOrders"`, known}},
	{"a permission in other letters", []string{"--permission", "getorder"}, []string{`"getorder"`, known}},
	{"one of two permissions unknown", []string{"--permission", "getOrder", "--permission", "nope"}, []string{`"nope"`, known}},
	{"a callback as a permission", []string{"--permission", "receiveTrackingUpdate"}, []string{`"receiveTrackingUpdate"`, known}},
	{"an operation of another permission", []string{"--permission", "replaceMerchant"}, []string{`"replaceMerchant"`, known}},
	{"permission twice", []string{"--permission", "getOrder", "--permission", "getOrder+shipping_price"}, []string{`permission "getOrder" is named twice`}},
	{"all that is wrong with permissions", []string{"--permission", "getOrder+price", "--permission", "no", "--permission", "bookOrders+x", "--permission", "non", "--permission", "no"},
		[]string{`permissions: permission "getOrder" has no field group "price"`, `permissions: permission "bookOrders" has no field groups`, `permissions: no permission is called "no" or "non"`, `permissions: permission "no" is named twice`}},
	{"field group", []string{"--permission", "getOrder+shipping_price"}, nil},
	{"unknown field group", []string{"--permission", "getOrder+price"}, []string{`permission "getOrder" has no field group "price"; it has: shipping_price`}},
	{"field group twice", []string{"--permission", "getOrder+shipping_price+shipping_price"}, []string{`names field group "shipping_price" twice`}},
	{"field group of a permission without any", []string{"--permission", "bookOrders+shipping_price"}, []string{`permission "bookOrders" has no field groups, so "shipping_price" cannot be included`}},
	{"empty field group", []string{"--permission", "getOrder+"}, []string{`has no field group ""`}},

	{"IPv4 address", []string{"--allow-ip", "192.0.2.1"}, nil},
	{"IPv4 network", []string{"--allow-ip", "192.0.2.0/24"}, nil},
	{"IPv6 network", []string{"--allow-ip", "2001:db8::/32"}, nil},
	{"mapped address", []string{"--allow-ip", "::ffff:192.0.2.1"}, nil},
	{"mapped network", []string{"--allow-ip", "::ffff:192.0.2.0/120"}, nil},
	{"mapped network and more", []string{"--allow-ip", "::ffff:0.0.0.0/90"}, []string{"holds more than the IPv4-mapped addresses: write the IPv4 CIDR"}},
	{"host bits", []string{"--allow-ip", "192.0.2.1/24"}, []string{`allow_ips: "192.0.2.1/24" has bits beyond its prefix: write 192.0.2.0/24`}},
	{"host bits, IPv6", []string{"--allow-ip", "2001:db8::1/32"}, []string{"write 2001:db8::/32"}},
	{"no CIDR", []string{"--allow-ip", "192.0.2.0/33"}, []string{`"192.0.2.0/33" is no IP address and no CIDR: write 203.0.113.7`}},
	{"host name", []string{"--allow-ip", "example.com"}, []string{`"example.com" is no IP address and no CIDR`}},
	{"empty address", []string{"--allow-ip", ""}, []string{`"" is no IP address and no CIDR`}},
	{"address with a zone", []string{"--allow-ip", "fe80::1%eth0"}, []string{"is no IP address and no CIDR"}},
	{"two bad addresses", []string{"--allow-ip", "x", "--allow-ip", "192.0.2.1/24"}, []string{`allow_ips: "x" is no IP address`, `allow_ips: "192.0.2.1/24" has bits beyond`}},
	{"one of two addresses bad", []string{"--allow-ip", "192.0.2.1", "--allow-ip", "x"}, []string{`"x" is no IP address`}},

	{"merchant with a space", []string{"--merchant", "m 1"}, []string{`merchant: merchant id "m 1": use 1 to 128 of A-Z a-z 0-9 . _ ~ -`}},
	{"merchant with a slash", []string{"--merchant", "m/1"}, []string{`merchant id "m/1"`}},
	{"merchant of dots", []string{"--merchant", ".."}, []string{"and not only dots"}},
	{"merchant of 128 bytes", []string{"--merchant", strings.Repeat("m", 128)}, nil},
	{"merchant of 129 bytes", []string{"--merchant", strings.Repeat("m", 129)}, []string{"use 1 to 128"}},

	{"expiry in 2s", []string{"--expires", "2s"}, nil},
	{"expiry in 90d", []string{"--expires", "90d"}, nil},
	{"expiry at a time", []string{"--expires", "2999-01-31T00:00:00+02:00"}, nil},
	{"expiry in the past", []string{"--expires", "2020-01-31T00:00:00Z"}, []string{`"2020-01-31T00:00:00Z" is in the past: name a moment to come`}},
	{"expiry before now", []string{"--expires", "-1h"}, []string{`"-1h" is in the past`}},
	{"expiry now", []string{"--expires", "0d"}, []string{`"0d" is in the past`}},
	{"expiry on a date", []string{"--expires", "2999-01-31"}, []string{`"2999-01-31" is no duration and no RFC 3339 time: write 90d, 12h or 2030-01-31T00:00:00Z`}},
	{"expiry in words", []string{"--expires", "never"}, []string{`"never" is no duration`}},
	{"expiry beyond all", []string{"--expires", "99999999d"}, []string{`--expires "99999999d" is longer than 200 years: leave it out for a secret that never expires`}},

	{"all of it wrong", []string{"--description", "", "--permission", "x", "--allow-ip", "x", "--merchant", "a b"}, []string{
		"nothing was stored", "description: ", "permissions: ", "allow_ips: ", "merchant: "}},
}

// A draft that is refused stores nothing, and says all that is wrong with it.
func TestDraft(t *testing.T) {
	s := newShell(t)
	s.create("--permission getOrder") // so that the store is begun, and knows the catalog
	for _, tt := range drafts {
		before := s.dump()
		args := tt.args
		for _, flag := range []string{"--merchant", "m1", "--description", "test", "--permission", "getOrder"} {
			if strings.HasPrefix(flag, "--") && !slices.Contains(tt.args, flag) {
				args = append(args, flag, map[string]string{"--merchant": "m1", "--description": "test", "--permission": "getOrder"}[flag])
			}
		}
		if tt.name == "no permission" {
			args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--permission" })
		}
		if tt.texts == nil {
			s.form("secret create", args...)
			continue
		}
		s.refused(s.run("secret create", args...), tt.texts...)
		s.unchanged(tt.name, before)
	}
}

func TestExpiry(t *testing.T) {
	s := newShell(t)
	brief := s.create("--permission getOrder --expires 2s")
	s.decides(brief.Secret, "GET /api/3/orders/1", "allow", "granted")
	if text := s.ok("secret list --merchant m1"); strings.Contains(text, "(expired)") {
		t.Errorf("secret list of one that lives:\n%s", text)
	}
	time.Sleep(time.Until(*brief.ExpiresAt))
	s.decides(brief.Secret, "GET /api/3/orders/1", "deny", "expired")
	for _, line := range []string{"secret list --merchant m1", "secret show " + brief.ID} {
		if text := s.ok(line); !strings.Contains(text, "(expired)") {
			t.Errorf("postern %s of one that expired:\n%s", line, text)
		}
	}
}

func TestRetiredPermission(t *testing.T) {
	s := newShell(t)
	s.env["POSTERN_CATALOG"] = s.write("api.yaml", document("/a: {get: {operationId: getA}}", "/b: {get: {operationId: getB}}"))
	old := s.create("--permission getA --permission getB")
	stored := s.dump()
	s.write("api.yaml", document("/a: {get: {operationId: getA}}", "/b: {get: {operationId: getB, x-postern-retired: true}}"))
	s.refused(s.run("secret create --merchant m1 --description d --permission getB"), `permission "getB" is retired`, "known are: getA")
	s.refused(s.run("secret rotate --permissions latest", old.ID), `permission "getB" is retired`)
	s.unchanged("granting a retired permission", stored)
	s.decides(old.Secret, "GET /b", "allow", "granted")
	renewed := s.form("secret rotate", old.ID) // as it was issued
	s.decides(renewed.Secret, "GET /b", "allow", "granted")
}
