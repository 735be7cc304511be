package storetest

import "syscall"

// dieWithParent makes the kernel kill the server when the test process ends
// without its cleanups, on a panic or a timeout.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
