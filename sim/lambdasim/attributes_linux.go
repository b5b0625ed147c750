package lambdasim

import "syscall"

// attributes make a process the leader of a group, so that its children end with it,
// and end it with this program, even where that is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
