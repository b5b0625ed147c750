//go:build !linux

package lambdasim

import "syscall"

// attributes make a process the leader of a group, so that its children end with it.
// Where this program is killed, nothing but Linux ends it too.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
