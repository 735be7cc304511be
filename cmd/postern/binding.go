package main

import (
	"io/fs"
	"strconv"

	"github.com/postern/postern/cmd/postern/listen"
)

// bindingFlags are the flags of commands that listen.
type bindingFlags struct {
	mode string
	o    listen.Options
}

func (c *call) bindingFlags() *bindingFlags {
	f := &bindingFlags{}
	c.flags.StringVar(&f.mode, "socket-mode", "0660", "mode of unix sockets, in octal")
	c.flags.BoolVar(&f.o.Insecure, "insecure", false, "let TCP beyond loopback go without TLS")
	c.flags.StringVar(&f.o.TLSCert, "tls-cert", "", "`FILE` of the certificate for TCP")
	c.flags.StringVar(&f.o.TLSKey, "tls-key", "", "`FILE` of its key")
	c.flags.StringVar(&f.o.TLSClientCA, "tls-client-ca", "", "`FILE` of the CA that clients' certificates must be from; any client, if not given")
	return f
}

func (f *bindingFlags) options() (listen.Options, error) {
	bits, err := strconv.ParseUint(f.mode, 8, 9)
	if err != nil {
		return listen.Options{}, usagef("--socket-mode %q is no mode: write 0660", f.mode)
	}
	f.o.SocketMode = fs.FileMode(bits)
	return f.o, nil
}
