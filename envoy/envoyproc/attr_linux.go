package envoyproc

import "syscall"

// procAttr has the kernel end Envoy with its parent, however that ends. A group
// of its own keeps a terminal's Ctrl-C from it, so the parent can stop it in order.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
