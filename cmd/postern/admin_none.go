//go:build noadmin

package main

import "errors"

// The sidecar's build leaves the management server out, and all that only it
// needs: pages, OIDC. A third of the program is gone with it, and what is not
// there cannot be attacked.
var adminCommands = []command{
	{"admin", "", "not in this build", func(*call) error {
		return errors.New("this build is the sidecar's, without the management server: use the image postern, or build without the tag noadmin")
	}},
}
