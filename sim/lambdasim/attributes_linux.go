package lambdasim

import "syscall"

// attributes makes a process a group leader, to end its children with it, and ends it with this
// program, even if that is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
