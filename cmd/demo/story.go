package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	merchant = "m-1001"
	tracking = "/api/3/orders/PP1/tracking"
)

// demo is the story being told.
type demo struct {
	*stage
	out     io.Writer
	answers int // that were as they should be

	legacy, warehouse, office, renewed secret
	unpriced, priced                   secret
	minted                             []secret
}

// chapters are the story, in order: each needs those before it.
var chapters = []struct {
	heading string
	tell    func(*demo, context.Context) error
}{
	{"A key file, and the gate", (*demo).open},
	{"An account begins with a legacy secret, which opens everything", (*demo).showLegacy},
	{"A restricted secret opens what was ticked for it, and nothing else", (*demo).showRestricted},
	{"A price that not every secret may see", (*demo).showPrice},
	{"Without a good secret there is nothing", (*demo).showUnknown},
	{"A deleted secret is as good as none", (*demo).showDeleted},
	{"The API gets a new endpoint: no secret gains it by itself", (*demo).showNewEndpoint},
	{"Paths and headers that try to get around", (*demo).showHostile},
	{"A secret's text was shown once: from then on it is known by its redacted form", (*demo).showKept},
}

func (d *demo) tell(ctx context.Context) error {
	fmt.Fprintf(d.out, `
Postern decides, for each request to a public API, whether the API secret that came with it may use that
endpoint. Everything here runs on this machine, in %s:

  client --> Envoy --> the example API, which answers with what it received
               |
             postern, the gate --> Redis (an embedded one), which holds the secrets' records

"$" is a command that was typed, ">" a request that a client sent to Envoy, "<" its answer: after 200, what the
API received, or the label that it sent.
`, d.dir)
	for i, c := range chapters {
		fmt.Fprintf(d.out, "\n== %d. %s\n", i+1, c.heading)
		if err := c.tell(d, ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(text string) { fmt.Fprintln(d.out, "\n"+text) }

func (d *demo) open(ctx context.Context) error {
	for _, setting := range d.settings() {
		fmt.Fprintln(d.out, "$ export "+setting)
	}
	if _, err := d.postern(ctx, "key", "new", keyFile); err != nil {
		return err
	}
	if err := d.openGate(ctx); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "$ "+typed("postern", d.serveArguments()...)+" &")
	fmt.Fprintf(d.out, "Envoy is at http://%s, and asks postern about each request over that socket.\n", d.envoy.Listen)
	return nil
}

func (d *demo) showLegacy(ctx context.Context) (err error) {
	if d.legacy, err = d.mint(ctx, "legacy", "merchant", "create", merchant); err != nil {
		return err
	}
	if _, err := d.awaitCatalog(ctx, ""); err != nil {
		return err
	}
	return d.ask(ctx,
		request{method: "GET", path: tracking, secret: d.legacy, want: allowed},
		request{method: "GET", path: "/api/3/merchant", secret: d.legacy, want: allowed},
		request{method: "GET", path: "/not/in/the/catalog", secret: d.legacy, want: allowed},
	)
}

func (d *demo) showRestricted(ctx context.Context) (err error) {
	d.warehouse, err = d.mint(ctx, "warehouse", "secret", "create", "--merchant", merchant, "--description", "Warehouse",
		"--permission", "trackOrder", "--permission", "cancelLabel", "--permission", "bookOrders")
	if err != nil {
		return err
	}
	d.say("Another, which also sees the shipping price in the answer:")
	d.office, err = d.mint(ctx, "office", "secret", "create", "--merchant", merchant, "--description", "Back office",
		"--permission", "getOrder+shipping_price", "--permission", "getMerchant")
	if err != nil {
		return err
	}
	d.say("Each is allowed what it was granted:")
	err = d.ask(ctx,
		request{method: "GET", path: tracking, secret: d.warehouse, want: allowed},
		request{method: "DELETE", path: "/api/3/orders/PP1/label", secret: d.warehouse, want: allowed},
		request{method: "GET", path: "/api/3/orders/PP1", secret: d.office, want: allowed},
	)
	if err != nil {
		return err
	}
	d.say("And nothing else: not another endpoint, and not another method of the same path.")
	return d.ask(ctx,
		request{method: "GET", path: "/api/3/merchant", secret: d.warehouse, want: notGranted},
		request{method: "GET", path: "/api/3/orders/PP1/label", secret: d.warehouse, want: notGranted},
		request{method: "GET", path: tracking, secret: d.office, want: notGranted},
	)
}

// What the example API answers with for a label, with what shipping costs and
// without it. What the goods are worth is in both.
const (
	pricedLabel   = `{"order":{"tracking_number":"PP1","price":"15.95","products":[{"title":"Lamp","price":29.0}]},"qualified_url":"https://labels.example.com/PP1.pdf"}`
	unpricedLabel = `{"order":{"tracking_number":"PP1","products":[{"title":"Lamp","price":29.0}]},"qualified_url":"https://labels.example.com/PP1.pdf"}`
)

func (d *demo) showPrice(ctx context.Context) (err error) {
	d.unpriced, err = d.mint(ctx, "packing station", "secret", "create", "--merchant", merchant, "--description", "Packing station", "--permission", "getOrderLabel")
	if err != nil {
		return err
	}
	d.priced, err = d.mint(ctx, "accounting", "secret", "create", "--merchant", merchant, "--description", "Accounting", "--permission", "getOrderLabel+shipping_price")
	if err != nil {
		return err
	}
	d.say("The same label, to both. The API sent the same; on its way back Envoy had the gate take the price of shipping out:")
	label := request{method: "GET", path: "/api/3/orders/PP1/label", secret: d.unpriced, want: allowedLabel(unpricedLabel)}
	full := label
	full.secret, full.want = d.priced, allowedLabel(pricedLabel)
	return d.ask(ctx, label, full)
}

func (d *demo) showUnknown(ctx context.Context) error {
	return d.ask(ctx,
		request{method: "GET", path: tracking, want: noSecret},
		request{method: "GET", path: tracking, secret: secret{name: "one made up", token: "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, want: invalidSecret},
	)
}

func (d *demo) showDeleted(ctx context.Context) error {
	r := request{method: "GET", path: "/api/3/merchant", secret: d.office, want: allowed}
	if err := d.ask(ctx, r); err != nil {
		return err
	}
	if _, err := d.postern(ctx, "secret", "delete", d.office.id); err != nil {
		return err
	}
	d.say("The gate had it in memory, and has heard of it. The answer does not tell a deleted secret from an unknown one:")
	r.want = invalidSecret
	return d.ask(ctx, r)
}

func (d *demo) showNewEndpoint(ctx context.Context) (err error) {
	if err := d.replaceCatalog(ctx); err != nil {
		return err
	}
	pickup := request{method: "POST", path: "/api/3/pickups", secret: d.warehouse, want: notGranted}
	if err := d.ask(ctx, pickup); err != nil {
		return err
	}
	if err := d.checkDenied(ctx, d.warehouse, pickup.method, pickup.path, "entered the catalog after the secret was issued"); err != nil {
		return err
	}
	d.say("So the merchant makes a new secret, with the new permission:")
	d.renewed, err = d.mint(ctx, "renewed", "secret", "create", "--merchant", merchant, "--description", "Warehouse, with pickups",
		"--permission", "trackOrder", "--permission", "cancelLabel", "--permission", "bookOrders", "--permission", "schedulePickup")
	if err != nil {
		return err
	}
	asRenewed, asLegacy := pickup, pickup
	asRenewed.secret, asRenewed.want = d.renewed, allowed
	asLegacy.secret, asLegacy.want = d.legacy, allowed
	return d.ask(ctx, asRenewed, asLegacy, pickup)
}

// pickups is the endpoint that is added to the example catalog.
const pickups = `
paths:
  /pickups:
    post:
      operationId: schedulePickup
      summary: Schedule a Pickup
      responses:
        "200": {description: A carrier will come.}
`

// replaceCatalog adds an endpoint to the catalog, and returns when the gate has
// read it.
func (d *demo) replaceCatalog(ctx context.Context) error {
	const next = "next.yaml"
	text, err := os.ReadFile(d.path(catalogFile))
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), "\npaths:\n", pickups, 1)
	if err := os.WriteFile(d.path(next), []byte(changed), 0o644); err != nil {
		return err
	}
	before, err := d.awaitCatalog(ctx, "")
	if err != nil {
		return err
	}
	if _, err := d.postern(ctx, "catalog", "diff", catalogFile, next); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "$ mv %s %s\n", next, catalogFile)
	if err := os.Rename(d.path(next), d.path(catalogFile)); err != nil {
		return err
	}
	replaced := time.Now()
	if _, err := d.awaitCatalog(ctx, before); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "The gate has read it by itself, after %.1f s.\n", time.Since(replaced).Seconds())
	return nil
}

func (d *demo) showHostile(ctx context.Context) error {
	fmt.Fprintln(d.out, "Envoy resolves what has one meaning. The gate decides about the result, and the API receives it:")
	err := d.ask(ctx,
		request{method: "GET", path: "/api/3/orders/PP1/../../merchant", secret: d.warehouse, want: notGranted},
		request{method: "GET", path: "/api/3/orders/%2e%2e/merchant", secret: d.warehouse, want: notGranted},
		request{method: "GET", path: "/api/3/orders//PP1/./tracking", secret: d.warehouse, want: allowedAs(tracking)},
	)
	if err != nil {
		return err
	}
	d.say("What servers read in different ways is refused, to a legacy secret too:")
	err = d.ask(ctx,
		request{method: "GET", path: "/api/3/orders/x%2F..%2Fmerchant", secret: d.warehouse, want: refused("path_normalization_failed")},
		request{method: "GET", path: "/api/3/orders/%252e%252e/merchant", secret: d.warehouse, want: notGranted},
		request{method: "GET", path: "/api/3/orders/%252e%252e/merchant", secret: d.legacy, want: notGranted},
	)
	if err != nil {
		return err
	}
	d.say("Only the gate says who calls, and only the request line says what is called:")
	return d.ask(ctx,
		request{method: "GET", path: tracking, secret: d.warehouse, header: "x-merchant-id: m-9999", want: allowed},
		request{method: "GET", path: "/api/3/merchant", secret: d.warehouse, header: "x-original-url: " + tracking, want: notGranted},
	)
}

// showKept shows what is left of the secrets' texts.
func (d *demo) showKept(ctx context.Context) error {
	listed, err := d.postern(ctx, "secret", "list", "--merchant", merchant)
	if err != nil {
		return err
	}
	gate, envoy := d.logs()
	everywhere := listed + gate + envoy
	for _, s := range d.minted {
		if strings.Contains(everywhere, s.token) {
			return fmt.Errorf("the text of secret %s is in the list or in a log:\n%s", s.name, everywhere)
		}
	}
	fmt.Fprintf(d.out, "None of the %d texts is in this list, in the gate's log or in Envoy's access log.\n", len(d.minted))
	return nil
}
