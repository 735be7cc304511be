package main

import (
	"context"
	"fmt"
	"text/tabwriter"
)

// keep prints what to try, and waits for ctx to end, or for Envoy to.
func (d *demo) keep(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n== Still running, until Ctrl-C. To try in another terminal:\n\ncd %s\nexport PATH=\"$PWD:$PATH\"\n", d.dir)
	for _, setting := range d.settings() {
		fmt.Fprintln(d.out, "export "+setting)
	}
	for _, s := range []secret{d.legacy, d.warehouse, d.renewed} {
		fmt.Fprintf(d.out, "%s=%s\n", s.variable(), s.token)
	}
	fmt.Fprintln(d.out)
	table := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	for _, try := range [][2]string{
		{d.curl(d.warehouse, "GET", tracking), "allowed"},
		{d.curl(d.warehouse, "POST", "/api/3/pickups"), "not granted"},
		{d.curl(d.renewed, "POST", "/api/3/pickups"), "allowed"},
		{d.curl(d.legacy, "GET", "/api/3/merchant"), "allowed"},
		{`echo "$WAREHOUSE" | postern check POST /api/3/pickups`, "why not"},
		{"postern secret list --merchant " + merchant, "and secret show, rotate, delete ID"},
		{"postern secret create --merchant " + merchant + ` --description "My own" --permission getMerchant`, "what is missing or unknown is named"},
		{"postern catalog lint " + catalogFile, "edit it, and the gate follows"},
		{"postern help", "every command"},
		{"curl http://" + d.ops + "/metrics", "the gate's, and /readyz"},
		{"tail -f " + gateLog, "the gate's log"},
	} {
		fmt.Fprintf(table, "%s\t# %s\n", try[0], try[1])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(d.out, "\nStopping.")
		return nil
	case <-d.envoy.Done():
		return d.envoy.Stop()
	}
}

func (d *demo) curl(s secret, method, path string) string {
	return fmt.Sprintf(`curl -i -X %s -H "Authorization: Bearer $%s" http://%s%s`, method, s.variable(), d.envoy.Listen, path)
}
