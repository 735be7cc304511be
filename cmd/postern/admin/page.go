package admin

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

//go:embed assets
var assets embed.FS

// templates are the pages, by name, each within the layout.
var templates = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	shared := template.Must(template.New("").Funcs(template.FuncMap{"lastUsed": sayLastUsed}).ParseFS(assets, "assets/layout.html", "assets/parts.html"))
	names, err := fs.Glob(assets, "assets/page-*.html")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		short := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), "page-"), ".html")
		all[short] = template.Must(template.Must(shared.Clone()).ParseFS(assets, name))
	}
	return all
}()

// layout is what every page has.
type layout struct {
	Title    string
	Who      string // "" before somebody has signed in
	Role     string
	Merchant string // whose page it is; "" of none
	Wide     bool   // whoever signed in may look at other merchants
	Page     any
}

// show answers with a page. One that cannot be made whole is not sent.
func (s *server) show(w http.ResponseWriter, r *http.Request, v *desk.Visit, status int, name, title string, page any) error {
	view := layout{Title: title, Who: v.Identity.Name, Role: v.Identity.Role.String(), Page: page}
	if merchant := recordable(r.PathValue("merchant")); view.Who != "" && status < 400 || status == http.StatusUnprocessableEntity {
		view.Merchant = merchant // of what is refused, a page names none
	}
	view.Wide = view.Who != "" && v.Identity.Role.Only() == ""
	var text bytes.Buffer
	if err := templates[name].ExecuteTemplate(&text, "layout", view); err != nil {
		return fmt.Errorf("make page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text.Bytes())
	return nil
}

// headings are statuses in a merchant's words.
var headings = map[int]string{
	http.StatusForbidden:          "You may not do this",
	http.StatusNotFound:           "Not found",
	http.StatusConflict:           "This was not done",
	http.StatusTooManyRequests:    "Too many requests",
	http.StatusServiceUnavailable: "Not possible just now",
}

// failPage answers with the page of an error; with the sign-in page, where
// somebody has not signed in, or no longer.
func (s *server) failPage(w http.ResponseWriter, r *http.Request, v *desk.Visit, p problem) {
	if p.Status == http.StatusUnauthorized {
		http.Redirect(w, r, signInFor(r), http.StatusSeeOther)
		return
	}
	p.Title = cmp.Or(headings[p.Status], "This did not work")
	if err := s.show(w, r, v, p.Status, "error", p.Title, p); err != nil {
		s.log.Error("no page of an error", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// serveAsset serves what pages load.
func (s *server) serveAsset(w http.ResponseWriter, r *http.Request, _ *desk.Visit) error {
	kinds := map[string]string{"style.css": "text/css; charset=utf-8", "copy.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}
	name := r.PathValue("name")
	text, err := assets.ReadFile("assets/" + name)
	if kinds[name] == "" || err != nil {
		return errNotFound
	}
	w.Header().Set("Content-Type", kinds[name])
	w.Write(text)
	return nil
}

// pageHome goes where somebody was who has signed in again, or to the page of
// the one merchant that they see, or asks for which.
func (s *server) pageHome(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if to, merchant := onward(r.URL.Query().Get("to")); merchant != "" && v.Identity.Role.Sees(merchant) {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	if only := v.Identity.Role.Only(); only != "" {
		http.Redirect(w, r, pageOf(only), http.StatusSeeOther)
		return nil
	}
	return s.show(w, r, v, http.StatusOK, "home", "Merchants", homeView{})
}

// homeView is what the page that asks for a merchant shows.
type homeView struct{ Merchant, Error string }

func pageOf(merchant string) string { return "/merchants/" + merchant + "/integrations" }

func (s *server) pageChoose(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	merchant := strings.TrimSpace(r.URL.Query().Get("merchant"))
	if err := authz.CheckMerchant(merchant); err != nil {
		return s.show(w, r, v, http.StatusUnprocessableEntity, "home", "Merchants", homeView{merchant, sentence(err.Error())})
	}
	http.Redirect(w, r, pageOf(merchant), http.StatusSeeOther)
	return nil
}

// listView is what the Integrations page shows.
type listView struct {
	Secrets, Legacy []secretView
	Broken          []string // ids of records that cannot be read
	Changes         bool     // whoever looks may make and delete
	Mends           bool     // and delete what cannot be read
}

func (s *server) pageList(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	merchant := r.PathValue("merchant")
	secrets, broken, err := s.desk.List(r.Context(), merchant)
	if err != nil {
		return err
	}
	views, err := s.viewsOf(r.Context(), secrets...)
	if err != nil {
		return err
	}
	role := v.Identity.Role
	page := listView{Broken: broken, Changes: role.Changes(merchant), Mends: role.Changes(merchant) && role.Only() == ""}
	for _, view := range views {
		if view.Legacy {
			page.Legacy = append(page.Legacy, view)
		} else {
			page.Secrets = append(page.Secrets, view)
		}
	}
	return s.show(w, r, v, http.StatusOK, "list", "Integrations", page)
}

// pageReview shows one secret.
func (s *server) pageReview(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	secret, view, err := s.find(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	page := struct {
		secretView
		Form    formView
		Uses    []permissionView // of a legacy secret
		Changes bool
	}{view, s.formOf(secret, view), s.usesOf(view), v.Identity.Role.Changes(view.Merchant)}
	return s.show(w, r, v, http.StatusOK, "review", "API Secret "+view.Description, page)
}

// find finds a secret of the page's merchant.
func (s *server) find(r *http.Request, id string) (*authz.Secret, secretView, error) {
	secret, err := s.desk.Find(r.Context(), r.PathValue("merchant"), id)
	if err != nil {
		return nil, secretView{}, err
	}
	views, err := s.viewsOf(r.Context(), secret)
	if err != nil {
		return nil, secretView{}, err
	}
	return secret, views[0], nil
}

// newForm names one showing of a form, so that it makes one secret.
func newForm() string { return rand.Text() }
