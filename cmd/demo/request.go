package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// request is one request of the story, and what must come of it.
type request struct {
	method, path string
	secret       secret // the zero one: none is sent
	header       string // one more header, "name: value"; "": none
	want         answer
}

// answer is what must come of a request.
type answer struct {
	status int
	body   string // in full; of an allowed request, the path that the API received, and "" means the one that was sent
	label  string // of a request for a label that is allowed: the label that comes back
}

// The answers of the gate, spelled out as clients rely on them.
var (
	allowed       = answer{status: http.StatusOK}
	notGranted    = answer{status: http.StatusForbidden, body: `{"error":"api_secret_no_permission","error_description":"User has no permission to execute this action"}`}
	invalidSecret = answer{status: http.StatusUnauthorized, body: `{"error":"invalid_api_secret","error_description":"The API secret is not valid"}`}
	noSecret      = answer{status: http.StatusUnauthorized, body: `{"error":"invalid_api_secret","error_description":"An API secret is needed: send the header Authorization: Bearer <API secret>"}`}
)

func allowedAs(path string) answer { return answer{status: http.StatusOK, body: path} }

func allowedLabel(label string) answer { return answer{status: http.StatusOK, label: label} }

// refused is Envoy's own answer, before the gate is asked.
func refused(why string) answer {
	return answer{status: http.StatusBadRequest, body: `{"error":"invalid_request","error_description":"The request was refused: ` + why + `."}`}
}

// received is what the example API says that it received.
type received struct {
	Path    string              `json:"path"`
	Headers map[string][]string `json:"headers"`

	Response json.RawMessage `json:"response"` // of a label
}

// client follows nothing and knows no proxy.
var client = &http.Client{
	Timeout:       5 * time.Second,
	Transport:     &http.Transport{},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask sends requests to Envoy, shows them with their answers, and fails on the
// first that is not answered as it must be.
func (d *demo) ask(ctx context.Context, requests ...request) error {
	for _, r := range requests {
		fmt.Fprintf(d.out, "> %v\n", r)
		status, body, err := d.send(ctx, r)
		if err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
		shown, err := r.judge(status, body)
		fmt.Fprintf(d.out, "< %d %s\n", status, shown)
		if err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
		d.answers++
	}
	return nil
}

func (d *demo) send(ctx context.Context, r request) (status int, body string, err error) {
	// Opaque goes out byte for byte, where a Path might be cleaned.
	q := (&http.Request{Method: r.method, URL: &url.URL{Scheme: "http", Host: d.envoy.Listen, Opaque: r.path}, Header: http.Header{}}).WithContext(ctx)
	if r.secret.token != "" {
		q.Header.Set("Authorization", "Bearer "+r.secret.token)
	}
	if name, value, found := strings.Cut(r.header, ": "); found {
		q.Header.Set(name, value)
	}
	resp, err := client.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

func (r request) String() string {
	with := "no secret"
	if r.secret.token != "" {
		with = "secret: " + r.secret.name
	}
	if r.header != "" {
		with += ", " + r.header
	}
	return fmt.Sprintf("%s %s  (%s)", r.method, r.path, with)
}

// judge returns the body as it is to be shown, and an error when the answer is
// not the one that is wanted.
func (r request) judge(status int, body string) (shown string, err error) {
	switch {
	case status != r.want.status:
		return body, fmt.Errorf("got status %d, want %d", status, r.want.status)
	case status == http.StatusOK:
		return r.judgeReceived(body)
	case body != r.want.body:
		return body, fmt.Errorf("got the body %s, want %s", body, r.want.body)
	}
	return body, nil
}

// judgeReceived judges what the example API received: it must know who calls,
// and not by which secret.
func (r request) judgeReceived(body string) (shown string, err error) {
	var got received
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return body, fmt.Errorf("read the example API's answer: %w", err)
	}
	for _, h := range []struct {
		name string
		want []string
	}{
		{"x-merchant-id", []string{merchant}},
		{"x-api-secret-id", []string{r.secret.id}},
		{"authorization", nil},
	} {
		if !slices.Equal(got.Headers[h.name], h.want) {
			return body, fmt.Errorf("the API received %s %q, want %q", h.name, got.Headers[h.name], h.want)
		}
	}
	want, as := r.path, ""
	if r.want.body != "" {
		want, as = r.want.body, r.want.body+" "
	}
	if got.Path != want {
		return body, fmt.Errorf("the API received the path %s, want %s", got.Path, want)
	}
	if r.want.label != "" {
		if string(got.Response) != r.want.label {
			return body, fmt.Errorf("got the label %s, want %s", got.Response, r.want.label)
		}
		return r.want.label, nil
	}
	return fmt.Sprintf("%swith x-merchant-id: %s, x-api-secret-id: %s, no authorization", as, merchant, r.secret.id), nil
}
