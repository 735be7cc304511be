//go:build !linux

package storetest

import "syscall"

// dieWithParent does nothing where the kernel cannot tie a process to its
// parent: there a test process that is killed leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
