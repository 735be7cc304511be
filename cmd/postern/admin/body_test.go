package admin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Bodies that are refused, and what is said of them: by field, and all at once
// (ASVS 15.3.3, 15.3.5).
func TestBodies(t *testing.T) {
	w := newWorld(t)
	const create = "POST /v1/merchants/a/secrets"
	rotate := "POST /v1/merchants/a/secrets/" + w.ids["a"] + "/rotate"
	tests := []struct {
		what, body string
		status     int
		fields     string // of errors, sorted
	}{
		{create, `{}`, 422, "description permissions"},
		{create, `{"description":"","permissions":[],"allow_ips":["x"],"expires_at":"2020-01-01T00:00:00Z"}`, 422, "allow_ips description expires_at permissions"},
		{create, `{"description":"d","permissions":[{"id":"nope"}]}`, 422, "permissions"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"},{"id":"trackOrder"}]}`, 422, "permissions"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder","fields":["nope"]}]}`, 422, "permissions"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"}],"expires_at":"soon"}`, 422, "expires_at"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"}],"merchant":"b"}`, 400, "merchant"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"}],"id":"1","unrestricted":true,"secret":"x"}`, 400, "id secret unrestricted"},
		{create, `{"description":"d","permissions":[{"id":"trackOrder","endpoints":[]}]}`, 400, "permissions[0].endpoints"},
		{create, `{"Description":"d","permissions":[{"id":"trackOrder"}]}`, 400, "Description"},
		{create, `{"description":1,"permissions":{}}`, 400, "description permissions"},
		{create, `{"description":null,"permissions":null}`, 400, "description permissions"},
		{create, `{"description":"d","description":"e","permissions":[{"id":"trackOrder"}]}`, 400, ""},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"}]}{}`, 400, ""},
		{create, `{"description":"d","permissions":[{"id":"trackOrder"}]} x`, 400, ""},
		{create, `{"description":"d","permissions":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`, 400, ""},
		{create, `[]`, 400, ""}, {create, `"x"`, 400, ""}, {create, `null`, 400, ""}, {create, `{`, 400, ""}, {create, ``, 415, ""},
		{create, "{\"description\":\"\xff\",\"permissions\":[]}", 400, ""},
		{create, `{"description":"` + strings.Repeat("x", 64<<10) + `"}`, 413, ""},
		{rotate, `{"permissions":"all"}`, 400, "permissions"},
		{rotate, `{"permissions":[]}`, 422, "permissions"},
		{rotate, `{"permissions":[{"id":"nope"}],"expires_at":"2020-01-01T00:00:00Z"}`, 422, "expires_at permissions"},
		{rotate, `{"description":"d"}`, 400, "description"},
		{"DELETE /v1/merchants/a/secrets/" + w.ids["a"], `{}`, 400, ""},
		{"POST /v1/merchants", `{}`, 422, "id"},
		{"POST /v1/merchants", `{"id":"a/b"}`, 422, "id"},
		{"GET /v1/merchants/a/secrets?limit=0", ``, 400, "limit"},
		{"GET /v1/merchants/a/secrets?limit=501", ``, 400, "limit"},
		{"GET /v1/merchants/a/secrets?limit=ten", ``, 400, "limit"},
		{"GET /v1/merchants/a/secrets?limit=1&limit=2", ``, 400, "limit"},
		{"GET /v1/merchants/a/secrets?cursor=x", ``, 400, "cursor"},
		{"GET /v1/merchants/a/secrets?page=2", ``, 400, "page"},
	}
	for _, tt := range tests {
		method, path, _ := strings.Cut(tt.what, " ")
		w.unchanged(tt.what+" "+tt.body[:min(len(tt.body), 40)], func() {
			got := w.ask("operator", method, path, tt.body)
			var p struct {
				Type, Title, Detail string
				Status              int
				Errors              []struct{ Field, Detail string }
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.header.Get("Content-Type") != "application/problem+json" || p.Status != got.status || p.Title == "" || p.Detail == "" || p.Type == "" {
				t.Errorf("%s %.60s = %s %s, want a problem", tt.what, tt.body, got.header.Get("Content-Type"), got.body)
			}
			var fields []string
			for _, e := range p.Errors {
				if e.Field != "" {
					fields = append(fields, e.Field)
				}
				if e.Detail == "" {
					t.Errorf("%s %.60s says nothing of %s", tt.what, tt.body, e.Field)
				}
			}
			slices.Sort(fields)
			if got.status != tt.status || strings.Join(fields, " ") != tt.fields {
				t.Errorf("%s %.60s = %d, errors of %q, want %d, of %q\n%s", tt.what, tt.body, got.status, fields, tt.status, tt.fields, got.body)
			}
		})
	}
}

// A list is read page by page, and what is deleted meanwhile does no harm.
func TestPagination(t *testing.T) {
	w := newWorld(t)
	ids := []string{w.ids["a"]}
	for range 6 {
		ids = append(ids, w.made("a")["id"].(string))
	}
	var got []string
	for path, n := "/v1/merchants/a/secrets?limit=3", 0; path != ""; n++ {
		var page struct {
			Secrets []struct{ ID string }
			Next    string
		}
		a := w.ask("viewer", "GET", path, "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 || n > 3 {
			t.Fatalf("list = %d %s, %v", a.status, a.body, err)
		}
		for _, s := range page.Secrets {
			got = append(got, s.ID)
		}
		if path = ""; page.Next != "" {
			path = "/v1/merchants/a/secrets?limit=3&cursor=" + page.Next
			w.ask("a", "DELETE", "/v1/merchants/a/secrets/"+got[len(got)-1], "")
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("the pages have %v, want %v", got, ids)
	}
	if a := w.ask("viewer", "GET", "/v1/merchants/nobody/secrets", ""); a.body != "{\"secrets\":[]}\n" {
		t.Errorf("the list of nobody = %s, want an empty one", a.body)
	}
}

// A rotation is what it is asked to be.
func TestRotations(t *testing.T) {
	w := newWorld(t)
	var old, next map[string]any
	decode := func(a answer, into *map[string]any) {
		t.Helper()
		if err := json.Unmarshal([]byte(a.body), into); err != nil || a.status != 201 {
			t.Fatalf("answer %d %s, %v, want 201", a.status, a.body, err)
		}
	}
	decode(w.ask("a", "POST", "/v1/merchants/a/secrets", `{"description":"d","permissions":[{"id":"trackOrder"}],"allow_ips":["10.0.0.0/8"],"expires_at":"2099-01-01T00:00:00Z"}`), &old)
	path := "/v1/merchants/a/secrets/" + old["id"].(string) + "/rotate"
	for body, permission := range map[string]string{``: "trackOrder", `{"permissions":"latest","expires_at":null}`: "trackOrder", `{"permissions":[{"id":"getMerchant","fields":[]}]}`: "getMerchant"} {
		decode(w.ask("a", "POST", path, body), &next)
		if got := next["permissions"].([]any)[0].(map[string]any)["id"]; got != permission || len(next["permissions"].([]any)) != 1 {
			t.Errorf("rotate %s has %v, want %s", body, next["permissions"], permission)
		}
		if next["description"] != "d" || !reflect.DeepEqual(next["allow_ips"], old["allow_ips"]) || next["expires_at"] == nil || next["secret"] == old["secret"] {
			t.Errorf("rotate %s = %v, want it like %v", body, next, old)
		}
	}
	decode(w.ask("a", "POST", path, `{"expires_at":"2098-01-01T00:00:00Z"}`), &next)
	if next["expires_at"] != "2098-01-01T00:00:00Z" {
		t.Errorf("rotate with a time ends at %v", next["expires_at"])
	}
}

// FuzzDecode: what is taken is what encoding/json takes, and never of two
// meanings.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":[1,2,{"b":null}]}`, `{"a":1,"a":2}`, `[[[[]]]]`, `"\ud800"`, `1e999`, `{"a":1}}`, "\xff", `{"a"`, ``, `nul`, `{"a":1,}`, `01`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decode(text)
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decode(%q) = %v, encoding/json %v, %v", text, got, want, err)
		}
		if depth := bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")); depth == 0 && reflect.TypeOf(got) != nil && reflect.TypeOf(got).Kind() == reflect.Map {
			t.Errorf("decode(%q) = %v, an object of nothing", text, got)
		}
	})
}
