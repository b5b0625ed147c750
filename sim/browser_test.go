package sim

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// browser is a tab of a headless Chromium, controlled by the DevTools protocol over two pipes.
// Source: https://chromedevtools.github.io/devtools-protocol/
type browser struct {
	*testing.T
	send    *os.File
	session string

	mu      sync.Mutex
	seq     int
	answers map[int]chan devtools
	faults  []string // errors on the page, including violations of its policy
}

// patience is how long the browser may take on a busy machine.
const patience = 2 * time.Minute

type devtools struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct{ Message string }
}

func newBrowser(t *testing.T, width, height int) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v (run scripts/deps.sh servers)", err)
	}
	theirIn, send, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	receive, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
		"--user-data-dir="+dir, "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{T: t, send: send, answers: make(map[int]chan devtools)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(bufio.NewReader(receive))
	}()
	t.Cleanup(func() {
		_, _ = send.WriteString(`{"id":-1,"method":"Browser.close"}` + "\x00")
		late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // its exit status does not matter
		late.Stop()
		send.Close()
		<-read
		receive.Close()
		_ = os.RemoveAll(dir) // one of its children may still write there
	})
	var target struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	}, nil)
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func (b *browser) read(r *bufio.Reader) {
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var d devtools
		if json.Unmarshal(text[:len(text)-1], &d) != nil {
			continue
		}
		b.mu.Lock()
		if answer := b.answers[d.ID]; answer != nil {
			answer <- d
			delete(b.answers, d.ID)
		} else if d.Method == "Runtime.exceptionThrown" || d.Method == "Log.entryAdded" {
			b.faults = append(b.faults, string(d.Params))
		}
		b.mu.Unlock()
	}
}

// left is the browser's answer if the page that evaluates an expression is left meanwhile.
const left = "Inspected target navigated or closed"

func (b *browser) call(method string, params map[string]any, out any) {
	b.Helper()
	if fault := b.try(method, params, out); fault != "" {
		b.Fatalf("%s: %s", method, fault)
	}
}

// try is call, but returns the browser's error.
func (b *browser) try(method string, params map[string]any, out any) (fault string) {
	b.Helper()
	answer := make(chan devtools, 1)
	b.mu.Lock()
	b.seq++
	message := map[string]any{"id": b.seq, "method": method, "params": params}
	if params == nil {
		message["params"] = map[string]any{}
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	b.answers[b.seq] = answer
	b.mu.Unlock()
	text, err := json.Marshal(message)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.send.Write(append(text, 0)); err != nil {
		b.Fatal(err)
	}
	select {
	case d := <-answer:
		if d.Error != nil {
			return d.Error.Message
		}
		if out != nil {
			if err := json.Unmarshal(d.Result, out); err != nil {
				b.Fatal(err)
			}
		}
	case <-time.After(patience):
		b.Fatalf("%s: no answer", method)
	}
	return ""
}

// open loads a page and waits for its script.
func (b *browser) open(url string) {
	b.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.until(fmt.Sprintf("location.href === %q && document.readyState === 'complete'", url))
}

// run evaluates an expression, awaits it if it is a promise, and returns its value, or nil if the page is left.
func (b *browser) run(expression string) any {
	b.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	if fault := b.try("Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
	}, &out); fault != "" && fault != left {
		b.Fatalf("%s: %s", expression, fault)
	}
	if out.ExceptionDetails != nil {
		b.Fatalf("%s: %v", expression, out.ExceptionDetails)
	}
	return out.Result.Value
}

func (b *browser) until(expression string) {
	b.Helper()
	for deadline := time.Now().Add(patience); b.run(expression) != true; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("never true: %s\n%v", expression, b.run("document.body.innerText"))
		}
	}
}

func (b *browser) want(expression string, want any) {
	b.Helper()
	if got := b.run(expression); got != want {
		b.Errorf("%s is\n%v\nnot\n%v", expression, got, want)
	}
}

func (b *browser) screenshot() []byte {
	b.Helper()
	var out struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &out)
	png, err := base64.StdEncoding.DecodeString(out.Data)
	if err != nil {
		b.Fatal(err)
	}
	return png
}
