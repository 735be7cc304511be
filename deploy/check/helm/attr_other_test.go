//go:build !linux

package helm

import "syscall"

func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
