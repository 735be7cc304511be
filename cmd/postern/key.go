package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/postern/postern/authz"
)

// keyForm is what the key commands print.
type keyForm struct {
	File   string   `json:"file"`
	Prefix string   `json:"prefix"`
	Keys   []string `json:"keys"` // ids, the minting one first
}

func (c *call) printKeys(asJSON bool, file string, keys *authz.Keyring, text string) error {
	if asJSON {
		return c.printJSON(keyForm{File: file, Prefix: keys.Prefix(), Keys: keys.KeyIDs()})
	}
	fmt.Fprintf(c.Stdout, "%s: %s\nkeys, the minting one first: %v\n", file, text, keys.KeyIDs())
	return nil
}

func keyNew(c *call) error {
	prefix := c.flags.String("prefix", "", "what every token begins with: at most 16 of A-Z a-z 0-9 and _")
	ifMissing := c.flags.Bool("if-missing", false, "leave a good key file that is there already as it is")
	asJSON := c.jsonFlag()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	file := args[0]
	if *ifMissing {
		if _, err := os.Stat(file); err == nil {
			keys, err := readKeyring(file, c.warn)
			if err != nil {
				return err
			}
			return c.printKeys(*asJSON, file, keys, "is there already")
		}
	}
	keys, err := authz.NewKeyring(*prefix)
	if err != nil {
		return err
	}
	if err := createKeyFile(file, keys); err != nil {
		return err
	}
	return c.printKeys(*asJSON, file, keys, "made; keep it secret, and keep a copy: without it the store's secrets are lost")
}

// createKeyFile writes a new key file, and never over another file.
func createKeyFile(file string, keys *authz.Keyring) error {
	data, err := keys.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode key file: %w", err)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already, and a key file is never overwritten: name another file", file)
	}
	if err != nil {
		return fmt.Errorf("make key file: %w", err)
	}
	_, err = out.Write(append(data, '\n'))
	if err := errors.Join(err, out.Chmod(0o600), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("make key file: %w", errors.Join(err, os.Remove(file)))
	}
	return nil
}

func keyAdd(c *call) error {
	asJSON := c.jsonFlag()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	keys, err := readKeyring(args[0], c.warn)
	if err != nil {
		return err
	}
	if keys, err = keys.Add(); err != nil {
		return err
	}
	if err := replaceKeyring(args[0], keys); err != nil {
		return err
	}
	ids := keys.KeyIDs()
	return c.printKeys(*asJSON, args[0], keys, "key "+ids[len(ids)-1]+" added; it verifies: give the file to every sidecar, then promote the key")
}

func keyPromote(c *call) error {
	asJSON := c.jsonFlag()
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	keys, err := readKeyring(args[0], c.warn)
	if err != nil {
		return err
	}
	if keys, err = keys.Promote(args[1]); err != nil {
		return err
	}
	if err := replaceKeyring(args[0], keys); err != nil {
		return err
	}
	return c.printKeys(*asJSON, args[0], keys, "key "+args[1]+" mints from now on")
}

func keyRetire(c *call) error {
	flags := c.remoteFlags()
	asJSON := c.jsonFlag()
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	flags.keyFile = &args[0]
	s, closer, err := c.open(flags)
	if err != nil {
		return err
	}
	defer closer.Close()
	keys, err := s.Keyring().Retire(args[1])
	if err != nil {
		return err
	}
	if err := s.Retire(c.ctx, args[1], keys); err != nil {
		return err
	}
	if err := replaceKeyring(args[0], keys); err != nil {
		return err
	}
	return c.printKeys(*asJSON, args[0], keys, "key "+args[1]+" is gone: give the file to every sidecar")
}
