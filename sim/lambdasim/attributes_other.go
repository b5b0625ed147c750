//go:build !linux

package lambdasim

import "syscall"

// attributes makes a process a group leader, which allows killing it with its children. Only Linux also kills it if
// this program is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
