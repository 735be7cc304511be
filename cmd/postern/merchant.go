package main

import (
	"fmt"

	"github.com/postern/postern/authz"
)

func merchantCreate(c *call) error {
	flags := c.storeFlags()
	asJSON := c.flags.Bool("json", false, "print one JSON document")
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if err := authz.CheckMerchant(args[0]); err != nil {
		return err
	}
	s, closer, err := c.open(flags)
	if err != nil {
		return err
	}
	defer closer.Close()
	token, secret, err := s.CreateLegacy(c.ctx, authz.Secret{
		Merchant: args[0], Description: "Legacy API Secret", CreatedAt: now(), Unrestricted: true,
	})
	if err != nil {
		return err
	}
	return c.printSecret(*asJSON, token, secret)
}

func merchantDelete(c *call) error {
	flags := c.storeFlags()
	asJSON := c.flags.Bool("json", false, "print one JSON document")
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if err := authz.CheckMerchant(args[0]); err != nil {
		return err
	}
	s, closer, err := c.open(flags)
	if err != nil {
		return err
	}
	defer closer.Close()
	ids, err := s.DeleteMerchant(c.ctx, args[0])
	if authz.ReasonOf(err) == authz.Unknown {
		return fmt.Errorf("there is no merchant %s: it never had a secret", args[0])
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return c.printJSON(map[string]any{"merchant": args[0], "deleted": append([]string{}, ids...)})
	}
	fmt.Fprintf(c.Stdout, "merchant %s is closed, and %d secrets are deleted\n", args[0], len(ids))
	return nil
}
