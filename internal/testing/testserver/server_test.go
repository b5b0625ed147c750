package testserver

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets the test binary also be the process that is killed while it runs a server: see
// TestServerDiesWithAKilledProcess.
func TestMain(m *testing.M) {
	if os.Getenv("TESTSERVER_VICTIM") != "" {
		s, err := StartPostgres(context.Background(), PostgresOptions{})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(s.Dir + " " + s.Addr() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestServerDiesWithAKilledProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), "TESTSERVER_VICTIM=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 500)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	dir, addr, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
	if _, err := net.Dial("tcp", addr); err != nil {
		t.Fatalf("the victim's server does not listen: %v", err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	Eventually(t, "no process and no directory are left", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist) && len(processesOf(t, dir)) == 0
	})
}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestMissingProgramSaysHowToInstall(t *testing.T) {
	_, err := Find("no-such-server", "deps")
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("got %v", err)
	}
}

func TestFailedStartShowsTheServersLogAndLeavesNothing(t *testing.T) {
	// A separate folder, because other packages' tests start servers concurrently; a short
	// name, because it is in the path of a socket.
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	_, err = StartPostgres(context.Background(), PostgresOptions{Config: "no_such_setting = 1"})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v, want the server's own message", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
