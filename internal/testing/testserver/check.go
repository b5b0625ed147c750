package testserver

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// CheckTLS checks with a bare TLS handshake that a server's certificate is from its CA, and that a client that trusts
// another CA refuses it.
func CheckTLS(t testing.TB, s *Server) {
	t.Helper()
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", s.Addr(), s.CA.ClientTLS("localhost"))
	Must(t, err, "a handshake with the server's own CA")
	conn.Close()
	other, err := NewCA()
	Must(t, err, "create a CA")
	var unverified *tls.CertificateVerificationError
	_, err = tls.DialWithDialer(dialer, "tcp", s.Addr(), other.ClientTLS("localhost"))
	if !errors.As(err, &unverified) {
		t.Errorf("an unrelated CA: %v, want a verification error", err)
	}
}

// CheckStop stops a server and fails the test if a process or the directory remains.
func CheckStop(t testing.TB, s *Server) {
	t.Helper()
	if len(processesOf(t, s.Dir)) == 0 {
		t.Errorf("no process of %s found while it runs: this check would find none afterwards either", s.Dir)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	// Processes that the guard killed with itself may take a moment to end.
	Eventually(t, "no process of "+s.Dir+" is left", func() bool { return len(processesOf(t, s.Dir)) == 0 })
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stop left %s: %v", s.Dir, err)
	}
}

// processesOf lists the processes whose command line or working directory contains dir.
func processesOf(t testing.TB, dir string) (found []string) {
	t.Helper()
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
			found = append(found, path)
		}
	}
	return found
}

// Eventually waits until something is so, and fails the test after 20 seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in 20 s: %s", what)
		}
	}
}
