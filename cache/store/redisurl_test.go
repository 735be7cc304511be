package store

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		url      string
		want     target
		redacted string
	}{
		{"redis://h", target{hosts: []string{"h:6379"}}, "redis://h:6379"},
		{"redis://h/", target{hosts: []string{"h:6379"}}, "redis://h:6379"},
		{"redis://10.0.0.1:7000/15", target{hosts: []string{"10.0.0.1:7000"}, db: 15}, "redis://10.0.0.1:7000/15"},
		{"rediss://cache.example.com", target{tls: true, hosts: []string{"cache.example.com:6379"}}, "rediss://cache.example.com:6379"},
		{"redis://[::1]", target{hosts: []string{"[::1]:6379"}}, "redis://[::1]:6379"},
		{"redis://[::1]:7,[::2]", target{hosts: []string{"[::1]:7", "[::2]:6379"}, cluster: true}, "redis://[::1]:7,[::2]:6379"},
		{"redis://:pw@h", target{password: "pw", hosts: []string{"h:6379"}}, "redis://h:6379"},
		{"redis://u:p:w@h", target{user: "u", password: "p:w", hosts: []string{"h:6379"}}, "redis://h:6379"},
		{"redis://a%3Ab:p%40%2F%3F%23%25+@h/1", target{user: "a:b", password: "p@/?#%+", hosts: []string{"h:6379"}, db: 1}, "redis://h:6379/1"},
		{"redis://a:1,b:2,c", target{hosts: []string{"a:1", "b:2", "c:6379"}, cluster: true}, "redis://a:1,b:2,c:6379"},
		{"redis://a,b?cluster=1", target{hosts: []string{"a:6379", "b:6379"}, cluster: true}, "redis://a:6379,b:6379"},
		{"rediss://u:p@a?cluster=1", target{tls: true, user: "u", password: "p", hosts: []string{"a:6379"}, cluster: true}, "rediss://a:6379?cluster=1"},
		{"redis://a?master=m", target{hosts: []string{"a:26379"}, master: "m"}, "redis://a:26379?master=m"},
		{"redis://:p@a,b:1/2?sentinel_password=s%26+&master=m.1&sentinel_username=w",
			target{password: "p", hosts: []string{"a:26379", "b:1"}, db: 2, master: "m.1", sentinelUser: "w", sentinelPassword: "s&+"},
			"redis://a:26379,b:1/2?master=m.1"},
	}
	for _, tt := range tests {
		got, err := parseURL(tt.url)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parseURL(%q) = %#v, %v, want %#v", tt.url, got, err, tt.want)
		}
		if got := Redacted(tt.url); got != tt.redacted {
			t.Errorf("Redacted(%q) = %q, want %q", tt.url, got, tt.redacted)
		}
	}
}

// refusedURLs are URLs with what is said of each.
var refusedURLs = []struct{ url, want string }{
	{"", "neither redis:// nor rediss://"},
	{"h:6379", "neither redis:// nor rediss://"},
	{"http://h", "neither redis:// nor rediss://"},
	{"unix:///run/redis.sock", "neither redis:// nor rediss://"},
	{"redis:h", "neither redis:// nor rediss://"},
	{"redis://", "host 1 is not a host"},
	{"redis:///1", "host 1 is not a host"},
	{"redis://:6379", "host 1 is not a host"},
	{"redis://a,,b", "host 2 is not a host"},
	{"redis://a,b,", "host 3 is not a host"},
	{"redis://a b", "host 1 is not a host"},
	{"redis://a#b", "host 1 is not a host"},
	{"redis://ä", "host 1 is not a host"},
	{"redis://[::1", "host 1 is not a host"},
	{"redis://[::1]6379", "host 1 is not a host"},
	{"redis://[10.0.0.1]", "host 1 is not a host"},
	{"redis://[fe80::1%eth0]", "host 1 is not a host"},
	{"redis://::1", "host 1 is not a host"},
	{"redis://fe80::1", "host 1 has no port"},
	{"redis://h:", "host 1 has no port"},
	{"redis://a,h:0", "host 2 has no port"},
	{"redis://h:65536", "host 1 has no port"},
	{"redis://h:-1", "host 1 has no port"},
	{"redis://h:redis", "host 1 has no port"},
	{"redis://h/x", "database behind the / is not a number"},
	{"redis://h/-1", "database behind the / is not a number"},
	{"redis://h/1/", "database behind the / is not a number"},
	{"redis://h/99999999999", "database behind the / is not a number"},
	{"redis://a,b/1", "Cluster has none"},
	{"redis://a/0?cluster=1", "Cluster has none"},
	{"redis://@h", "no password before the @"},
	{"redis://hunter2@h", "no password before the @"},
	{"redis://user:@h", "no password before the @"},
	{"redis://:hunter%2@h", "percent-encode it"},
	{"redis://:hunter@2@h", "percent-encode them"},
	{"redis://:hunter/2@h", "percent-encode them"},
	{"redis://:hunter?2@h", "percent-encode them"},
	{"redis://:hunter#2@h", "percent-encode them"},
	{"redis://h?", "option 1 behind the ? is unknown"},
	{"redis://h?hunter2", "option 1 behind the ? is unknown"},
	{"redis://h?cluster=1&timeout=5", "option 2 behind the ? is unknown"},
	{"redis://h?cluster=1&cluster=1", "option 2 behind the ? is unknown or there twice"},
	{"redis://h?cluster=true", "cluster is not 1"},
	{"redis://h?cluster=", "cluster is empty"},
	{"redis://h?master=", "master is empty"},
	{"redis://h?master=a%2", "master is empty, or has a %"},
	{"redis://h?master=a%20b", "other characters than Sentinel allows"},
	{"redis://h?cluster=1&master=m", "both cluster and master"},
	{"redis://h?sentinel_password=hunter2", "without a master"},
	{"redis://h?master=m&sentinel_username=u", "without a sentinel_password"},
	{"redis://h?master=m&sentinel_password=hunter&2", "option 3 behind the ? is unknown"},
	{"redis://h?master=m&sentinel_password=hunter@2", "percent-encode them"},
}

func TestParseURLRefuses(t *testing.T) {
	for _, tt := range refusedURLs {
		_, err := parseURL(tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseURL(%q) error = %v, want one with %q", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("parseURL(%q) error %q quotes the password", tt.url, err)
		}
		if got, want := Redacted(tt.url), "(invalid redis URL)"; got != want {
			t.Errorf("Redacted(%q) = %q, want %q", tt.url, got, want)
		}
	}
}

// FuzzParseURL puts a password that has marks at its ends in each place for
// one, escaped or not: no text of ours may hold a mark.
func FuzzParseURL(f *testing.F) {
	f.Add("redis://user:", "secret", "@host:6379/1")
	f.Add("redis://:", "p%40/?#@:,[]", "@a,b?master=m&sentinel_password=x")
	f.Add("rediss://[::1]:1?master=m&sentinel_password=", "a&b%", "&cluster=1")
	f.Add("redis://", "", "@@a,b")
	f.Add("redis://h/", ":", "")
	f.Fuzz(func(t *testing.T, before, password, after string) {
		const begin, end = "<Zq7", "x9K>" // no host or master can hold them
		rawURL := before + begin + password + end + after
		got, err := parseURL(rawURL)
		for _, text := range []string{got.String(), Redacted(rawURL), errText(err)} {
			if strings.Contains(text, "Zq7") || strings.Contains(text, "x9K") {
				t.Errorf("%q, about %q, holds the password", text, rawURL)
			}
		}
		if err != nil {
			return
		}
		again, err := parseURL(got.String())
		got.user, got.password, got.sentinelUser, got.sentinelPassword = "", "", "", ""
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("parseURL of %q, redacted %q = %#v, %v, want %#v", rawURL, got, again, err, got)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
