//go:build !linux

package lambdasim

import "syscall"

// attributes makes a process a group leader, to end its children with it. Only Linux also ends it
// if this program is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
