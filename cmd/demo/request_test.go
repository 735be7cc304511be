package main

import (
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	s := secret{name: "warehouse", id: "5f", token: "t"}
	const echo = `{"path":"/a/b","headers":{"x-merchant-id":["` + merchant + `"],"x-api-secret-id":["5f"]}}`
	for _, tt := range []struct {
		name   string
		path   string
		want   answer
		status int
		body   string
		err    string // part of it; "": none
	}{
		{"allowed", "/a/b", allowed, 200, echo, ""},
		{"allowed as another path", "/a/./b", allowedAs("/a/b"), 200, echo, ""},
		{"denied", "/a", notGranted, 403, notGranted.body, ""},
		{"denied, but wanted allowed", "/a/b", allowed, 403, notGranted.body, "got status 403, want 200"},
		{"allowed, but wanted denied", "/a/b", notGranted, 200, echo, "got status 200, want 403"},
		{"denied with another body", "/a", notGranted, 403, "{}", "got the body {}, want {"},
		{"another path", "/a/c", allowed, 200, echo, "received the path /a/b, want /a/c"},
		{"a path that was to be changed", "/a/b", allowedAs("/b"), 200, echo, "received the path /a/b, want /b"},
		{"another merchant", "/a/b", allowed, 200, strings.Replace(echo, merchant, "m-9999", 1), `x-merchant-id ["m-9999"], want`},
		{"two merchants", "/a/b", allowed, 200, strings.Replace(echo, merchant+`"`, merchant+`","m-9999"`, 1), `"m-9999"], want`},
		{"no secret id", "/a/b", allowed, 200, strings.Replace(echo, "x-api-secret-id", "x", 1), `x-api-secret-id [], want ["5f"]`},
		{"the secret itself", "/a/b", allowed, 200, strings.Replace(echo, `{"x-m`, `{"authorization":["Bearer t"],"x-m`, 1), `authorization ["Bearer t"], want []`},
		{"a label", "/a/b", allowedLabel(`{"p":1}`), 200, strings.Replace(echo, `{"path"`, `{"response":{"p":1},"path"`, 1), ""},
		{"another label", "/a/b", allowedLabel(`{}`), 200, strings.Replace(echo, `{"path"`, `{"response":{"p":1},"path"`, 1), `got the label {"p":1}, want {}`},
		{"no echo", "/a/b", allowed, 200, "hello", "read the example API's answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown, err := request{method: "GET", path: tt.path, secret: s, want: tt.want}.judge(tt.status, tt.body)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			if err != nil && shown != tt.body {
				t.Errorf("shown is %q, want the whole body %q", shown, tt.body)
			}
		})
	}
}

func TestTyped(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"short", []string{"key", "new", "keys.json"}, "postern key new keys.json"},
		{"a space", []string{"--description", "Back office"}, `postern --description "Back office"`},
		{
			"long", []string{"--a", strings.Repeat("x", 70), "--b", "1", "--c", "2"},
			"postern --a " + strings.Repeat("x", 70) + " \\\n    --b 1 --c 2",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := typed("postern", tt.args...); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestField(t *testing.T) {
	const said = "secret       abc  (copy it now)\nid           5f\nallowed IPs  any\n"
	for _, tt := range []struct{ name, want string }{
		{"secret", "abc"}, {"id", "5f"}, {"merchant", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := field(said, tt.name); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
