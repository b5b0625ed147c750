package lambdasim

import "syscall"

// attributes makes a process a group leader, which allows killing it with its children. Linux also kills it when this
// program ends, even if this program is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
