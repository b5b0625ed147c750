//go:build repro

package influxdb

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// What the server logs, for names that look like statements.
func TestZZLogs(t *testing.T) {
	f := newFixture(t)
	w := zzworld.New(t, f.engine)
	super := w.Secret("super", string(f.value(f.User, f.Password).Reveal()))
	for i, name := range []string{"plain", "a = b", "x' with password 'y", `q" password for "z" = 'w`, "n\nl", "=", "with password"} {
		f.must("CREATE USER " + identifier(name) + " WITH PASSWORD 'First-Passw0rd-1'")
		arn := w.Secret(fmt.Sprint("app", i), string(f.value(name, "First-Passw0rd-1").With("masterarn", super).Reveal()), "rotator:strategy", []string{"single", "alternating"}[i%2])
		for range 2 {
			if err := w.Rotate(arn); err != nil {
				t.Logf("%q: %v", name, err)
			}
			p, _ := engine.StringValue(w.Get(arn, "AWSCURRENT")).Text("password")
			logs, _ := f.Logs()
			if strings.Contains(logs, p) || strings.Contains(logs, url.QueryEscape(p)) {
				t.Errorf("PROVED: %q: the password is in the log", name)
			}
		}
	}
}

func TestZZGzipBomb(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	block := make([]byte, 1<<20)
	for range 1024 {
		_, _ = z.Write(block)
	}
	z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	}))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	w := zzworld.New(t, New(engine.TLSPolicy{}))
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"influxdb","host":"127.0.0.1","port":%s,"ssl":false,"username":"u","password":"p"}`, u.Port()))
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	begin := time.Now()
	err := w.Step(arn, w.Begin(arn), rotation.CreateSecret)
	runtime.ReadMemStats(&m1)
	t.Logf("%v after %s, allocated %d MiB", err, time.Since(begin), (m1.TotalAlloc-m0.TotalAlloc)>>20)
}

// What 8 MiB of an answer take in memory.
func TestZZMemoryOfAnAnswer(t *testing.T) {
	body := `{"results":[{"series":[{"values":[` + strings.TrimSuffix(strings.Repeat(`[0],`, 8<<20/4-100), ",") + `]}]}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	w := zzworld.New(t, New(engine.TLSPolicy{}))
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"influxdb","host":"127.0.0.1","port":%s,"ssl":false,"username":"u","password":"p"}`, u.Port()))
	token := w.Begin(arn)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, peak, stop := m.HeapInuse, uint64(0), make(chan bool)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
		}
	}()
	begin := time.Now()
	err := w.Step(arn, token, rotation.CreateSecret)
	close(stop)
	t.Logf("%.200v after %s; %d MiB more in use at the peak", err, time.Since(begin), (peak-base)>>20)
}
