package lambdasim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Only Linux can kill a process when its parent ends.
func TestNoFunctionOutlivesAProgramThatIsKilled(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), "ORPHANS=1")
	out, err := command.Output()
	if command.ProcessState == nil || command.ProcessState.Success() {
		t.Fatalf("it was not killed: %v", err)
	}
	var r reply
	if err := json.Unmarshal(out, &r); err != nil || r.Pid == 0 {
		t.Fatalf("%s: %v", out, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(r.Pid, syscall.SIGKILL) })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// A zombie has no command line.
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.Pid))
		if err != nil || len(line) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the function's process still runs")
		}
	}
}
