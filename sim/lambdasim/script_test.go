package lambdasim

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scripts are functions in the languages for which this package has a runtime.
var scripts = []struct {
	program, file, text string
	function            func(string, Options) (*Function, error)
}{
	{"python3", "lambda_function.py", `
import os, time
count = 0
def handler(event, context):
    global count
    count += 1
    if event["do"] == "fail": raise ValueError("it failed")
    if event["do"] == "exit": os._exit(3)
    if event["do"] == "sleep": time.sleep(3600)
    if event["do"] == "object": return object()
    return {"count": count, "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn,
            "id": context.aws_request_id, "handler": os.environ["_HANDLER"], "mine": os.environ["MINE"]}
`, Python},
	{"node", "index.mjs", module, Node},
	{"node", "common.js", strings.Replace(module, "export const handler", "exports.handler", 1), Node},
}

// module is the function as an ECMAScript module.
const module = `
let count = 0;
export const handler = async (event, context) => {
  count++;
  if (event.do === "fail") throw new TypeError("it failed");
  if (event.do === "exit") process.exit(3);
  if (event.do === "sleep") await new Promise((done) => setTimeout(done, 3600e3));
  if (event.do === "object") { const o = {}; o.o = o; return o; }
  return { count, left: context.getRemainingTimeInMillis(), arn: context.invokedFunctionArn,
    id: context.awsRequestId, handler: process.env._HANDLER, mine: process.env.MINE };
};
`

func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.file, func(t *testing.T) {
			if _, err := exec.LookPath(s.program); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.text), 0o600); err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Join(dir, s.file), filepath.Ext(s.file)) + ".handler"
			f, err := s.function(name, Options{
				ARN: arn, Env: []string{"MINE=yes"}, Timeout: 10 * time.Second, Log: t.Output(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			call := func(do string) (out map[string]any, functionError string) {
				t.Helper()
				body, functionError, err := f.Invoke(t.Context(), []byte(`{"do":"`+do+`"}`))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(body, &out); err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				return out, functionError
			}
			out, failed := call("answer")
			if left, _ := out["left"].(float64); failed != "" || out["arn"] != arn || out["handler"] != name ||
				out["mine"] != "yes" || len(out["id"].(string)) != 36 || left < 1000 || left > 10000 {
				t.Errorf("%v %s", out, failed)
			}
			if out, failed = call("fail"); failed != "Unhandled" || out["errorMessage"] != "it failed" ||
				!strings.Contains(out["errorType"].(string), "Error") {
				t.Errorf("%v %s", out, failed)
			}
			if out, failed = call("object"); failed != "Unhandled" || out["errorType"] != "TypeError" {
				t.Errorf("a response that is not JSON: %v %s", out, failed)
			}
			if out, _ = call("answer"); out["count"] != 4.0 {
				t.Errorf("the process was not kept: %v", out)
			}
			if out, failed = call("exit"); failed != "Unhandled" || out["errorType"] != "Runtime.ExitError" {
				t.Errorf("%v %s", out, failed)
			}
			f.opts.Timeout = 300 * time.Millisecond
			if out, failed = call("sleep"); failed != "Unhandled" || out["errorType"] != "Sandbox.Timedout" {
				t.Errorf("%v %s", out, failed)
			}

			f, err = s.function(filepath.Join(dir, "missing.handler"), Options{Log: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if out, failed = call("answer"); failed != "Unhandled" ||
				!strings.Contains(out["errorMessage"].(string), "missing") {
				t.Errorf("%v %s", out, failed)
			}
			for _, bad := range []string{"", "index", "index.", ".handler"} {
				if _, err := s.function(bad, Options{}); err == nil {
					t.Errorf("%q was accepted", bad)
				}
			}
		})
	}
}
