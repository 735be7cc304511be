package store

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// target is a redis URL taken apart. net/url does not parse a list of hosts,
// and its errors quote the password.
type target struct {
	tls                            bool
	user, password                 string
	hosts                          []string // host:port, one at least
	db                             int
	cluster                        bool
	master                         string // the name Sentinel gives it; empty without Sentinel
	sentinelUser, sentinelPassword string
}

// String is the URL without credentials, so that no log can hold them.
func (t target) String() string {
	s := "redis://"
	if t.tls {
		s = "rediss://"
	}
	s += strings.Join(t.hosts, ",")
	if t.db != 0 {
		s += "/" + strconv.Itoa(t.db)
	}
	switch {
	case t.master != "":
		s += "?master=" + t.master
	case t.cluster && len(t.hosts) == 1:
		s += "?cluster=1"
	}
	return s
}

// parseURL takes a URL of Options apart. Its errors say which part is wrong and
// never quote it: where a URL is wrong, any part of it may be the password's.
func parseURL(rawURL string) (target, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok || scheme != "redis" && scheme != "rediss" {
		return target{}, errors.New("it starts with neither redis:// nor rediss://")
	}
	t := target{tls: scheme == "rediss"}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if err := t.setCredentials(rest[:at]); err != nil {
			return target{}, err
		}
		rest = rest[at+1:]
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery {
		if err := t.setOptions(query); err != nil {
			return target{}, err
		}
	}
	hosts, db, _ := strings.Cut(rest, "/")
	if err := t.setHosts(hosts); err != nil {
		return target{}, err
	}
	return t, t.setDB(db)
}

// setCredentials reads what is before the last @.
func (t *target) setCredentials(s string) error {
	if strings.ContainsAny(s, "@/?#") {
		return errors.New("there is an @ / ? or # where none can be: percent-encode them in a user or password (@ is %40)")
	}
	user, password, _ := strings.Cut(s, ":")
	var err, perr error
	t.user, err = url.PathUnescape(user)
	t.password, perr = url.PathUnescape(password)
	switch {
	case err != nil || perr != nil:
		return errors.New("the user or password has a % without two hex digits: percent-encode it (% is %25)")
	case t.password == "":
		return errors.New("there is no password before the @: want user:password@, or :password@")
	}
	return nil
}

// setOptions reads what is behind the question mark.
func (t *target) setOptions(query string) error {
	var cluster string
	unread := map[string]*string{
		"cluster": &cluster, "master": &t.master,
		"sentinel_username": &t.sentinelUser, "sentinel_password": &t.sentinelPassword,
	}
	for i, option := range strings.Split(query, "&") {
		key, value, _ := strings.Cut(option, "=")
		field := unread[key]
		if field == nil {
			return fmt.Errorf("option %d behind the ? is unknown or there twice: "+
				"want cluster, master, sentinel_username or sentinel_password", i+1)
		}
		delete(unread, key)
		var err error
		if *field, err = url.PathUnescape(value); err != nil || *field == "" {
			return fmt.Errorf("%s is empty, or has a %% without two hex digits (%% is %%25)", key)
		}
	}
	t.cluster = cluster == "1"
	switch {
	case cluster != "" && !t.cluster:
		return errors.New("cluster is not 1: want cluster=1, or no such option")
	case t.cluster && t.master != "":
		return errors.New("both cluster and master are given: want one, Cluster or Sentinel")
	case t.master == "" && t.sentinelUser+t.sentinelPassword != "":
		return errors.New("there are Sentinel's credentials without a master: add master=NAME")
	case t.sentinelUser != "" && t.sentinelPassword == "":
		return errors.New("there is a sentinel_username without a sentinel_password")
	case !isName(t.master):
		return errors.New("master has other characters than Sentinel allows: letters, digits, . - and _")
	}
	return nil
}

// isName reports whether s has only what a host name or a master's name has.
func isName(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// setHosts reads the list of hosts, once it is known whose they are.
func (t *target) setHosts(list string) error {
	port := "6379"
	if t.master != "" {
		port = "26379"
	}
	for i, host := range strings.Split(list, ",") {
		addr, err := parseHost(host, port)
		if err != nil {
			return fmt.Errorf("host %d %w", i+1, err)
		}
		t.hosts = append(t.hosts, addr)
	}
	t.cluster = t.cluster || t.master == "" && len(t.hosts) > 1
	return nil
}

// parseHost reads HOST, HOST:PORT, [IPV6] or [IPV6]:PORT.
func parseHost(s, defaultPort string) (string, error) {
	host, port, hasPort := strings.Cut(s, ":")
	valid := host != "" && isName(host)
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, port, ok = strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(host)
		valid = ok && err == nil && addr.Is6() && addr.Zone() == ""
		port, hasPort = strings.CutPrefix(port, ":")
		valid = valid && (hasPort || port == "")
	}
	if !valid {
		return "", errors.New("is not a host: want HOST, HOST:PORT, [IPV6] or [IPV6]:PORT")
	}
	if !hasPort {
		port = defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("has no port from 1 to 65535 behind its colon (an IPv6 address goes in brackets)")
	}
	return net.JoinHostPort(host, port), nil
}

// setDB reads what is behind the slash.
func (t *target) setDB(s string) error {
	if s == "" {
		return nil
	}
	if t.cluster {
		return errors.New("there is a database, of which Cluster has none: drop what is behind the /")
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return errors.New("the database behind the / is not a number")
	}
	t.db = int(n)
	return nil
}
