package openapi

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v4"
)

// prefix is the path of the first server, or inherited where there is none. n
// is what servers was decoded from.
func (d *document) prefix(servers openapi3.Servers, n *yaml.Node, inherited string) string {
	if len(servers) == 0 {
		return inherited
	}
	path, err := serverPath(servers[0])
	if err != nil {
		d.problem(n.Content[0], fmt.Sprintf("servers[0]: %v", err), "write its url as https://HOST/PATH or /PATH")
	}
	return path
}

// serverPath is the path of a server's URL, its variables at their defaults,
// without a slash at its end.
func serverPath(server *openapi3.Server) (string, error) {
	if server == nil || server.URL == "" {
		return "", errors.New("it has no url")
	}
	var defaults []string
	for _, name := range slices.Sorted(maps.Keys(server.Variables)) {
		if variable := server.Variables[name]; variable != nil {
			defaults = append(defaults, "{"+name+"}", variable.Default)
		}
	}
	text := strings.NewReplacer(defaults...).Replace(server.URL)
	if i := strings.IndexAny(text, `{}%?#\`); i >= 0 {
		return "", fmt.Errorf("url %q holds %q, but a path is compared as bytes: no escape, query or undeclared variable can be part of it", text, text[i])
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("url %q cannot be read", text)
	}
	if u.Opaque != "" || u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		return "", fmt.Errorf("url %q has no host, and does not start with /", text)
	}
	return strings.TrimSuffix(u.Path, "/"), nil
}
