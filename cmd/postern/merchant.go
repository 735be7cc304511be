package main

import (
	"fmt"
	"time"

	"github.com/postern/postern/authz"
)

func merchantCreate(c *call) error {
	flags := c.storeFlags()
	asJSON := c.jsonFlag()
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
	flags, revoking := c.storeFlags(), c.revokeFlags()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if err := authz.CheckMerchant(args[0]); err != nil {
		return err
	}
	replicas, err := revoking.count()
	if err != nil {
		return err
	}
	s, closer, err := c.open(flags)
	if err != nil {
		return err
	}
	defer closer.Close()
	begun := time.Now()
	deletion, err := s.DeleteMerchant(c.ctx, args[0], replicas)
	if authz.ReasonOf(err) == authz.Unknown {
		return fmt.Errorf("there is no merchant %s: it never had a secret", args[0])
	}
	if err != nil {
		return err
	}
	applied, err := s.Settle(c.ctx, deletion, begun, *revoking.wait)
	if err != nil {
		return err
	}
	ids := []string{}
	for _, tombstone := range deletion.Tombstones {
		ids = append(ids, tombstone.ID)
	}
	if *revoking.asJSON {
		return c.printJSON(map[string]any{"merchant": args[0], "deleted": ids, "sidecars": applied})
	}
	fmt.Fprintf(c.Stdout, "merchant %s is closed; secrets deleted: %d\n", args[0], len(ids))
	c.printApplied(applied)
	return nil
}
