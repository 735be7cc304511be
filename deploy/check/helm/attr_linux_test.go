package helm

import "syscall"

// procAttr ends a process with the test, even where that is killed.
func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
