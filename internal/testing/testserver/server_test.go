package testserver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	eventually(t, "no process and no directory are left", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist) && len(processesOf(t, dir)) == 0
	})
}

// checkStop stops a server and fails if a process or the directory remains.
func checkStop(t *testing.T, s interface{ Stop() error }, dir string) {
	t.Helper()
	if len(processesOf(t, dir)) == 0 {
		t.Errorf("no process of %s found while it runs: this check would find none afterwards either", dir)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	// Processes that the guard killed with itself may take a moment to end.
	eventually(t, "no process of "+dir+" is left", func() bool { return len(processesOf(t, dir)) == 0 })
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stop left %s: %v", dir, err)
	}
}

// processesOf lists the processes whose command line or working directory contains dir.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		t.Fatalf("this check needs /proc: %v", err)
	}
	for _, path := range lines {
		cmdline, _ := os.ReadFile(path)
		if len(cmdline) == 0 {
			continue // it has ended, or is just ending
		}
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(path), "cwd"))
		if strings.Contains(string(cmdline), dir) || strings.HasPrefix(cwd, dir) {
			found = append(found, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in 20 s: %s", what)
		}
	}
}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// refusesOtherCA checks with a bare TLS handshake that the server at addr has a certificate from
// ca, and that a client that trusts another CA refuses it.
func refusesOtherCA(t *testing.T, addr string, ca *CA) {
	t.Helper()
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, ca.ClientTLS("localhost"))
	if err != nil {
		t.Fatalf("the server's own CA is refused: %v", err)
	}
	conn.Close()
	var unverified *tls.CertificateVerificationError
	_, err = tls.DialWithDialer(dialer, "tcp", addr, newCA(t).ClientTLS("localhost"))
	if !errors.As(err, &unverified) {
		t.Errorf("an unrelated CA: %v, want a verification error", err)
	}
}

func TestMissingProgramSaysHowToInstall(t *testing.T) {
	_, err := installed("no-such-server")
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
