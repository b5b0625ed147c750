package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"rotatorctl": func() { os.Exit(run("unreleased")) },
		"steady":     steady,
		// bootstrap is a Lambda binary that rotates a secret and no target.
		"bootstrap": func() { lambda.Start(rotateNothing) },
	})
}

// changing lists the parts of a text that differ between runs, and their replacements.
var changing = []struct {
	found *regexp.Regexp
	shown string
}{
	{regexp.MustCompile(`(:secret:[\w/]+)-\w{6}\b`), "$1-SUFFIX"},
	{regexp.MustCompile(`\bu_[0-9a-f]{8}`), "u_1"},
	{regexp.MustCompile(`(localhost|127\.0\.0\.1|\[::1\]):\d{4,}`), "$1:PORT"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "VERSION"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \([^)]*\)`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`lookup db\.invalid.*`), "lookup db.invalid: no such host"}, // resolvers differ
	{regexp.MustCompile(`(took|in) (\d+ seconds?|[\d.]+m?s)\b`), "$1 TIME"},
	{regexp.MustCompile(`PostgreSQL \d.*`), "PostgreSQL VERSION"},
}

// steady runs a command and prints its standard output, standard error and exit code. Parts that differ
// between runs are replaced.
func steady() {
	var out, stderr strings.Builder
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	_ = cmd.Run() // its exit code is printed
	text := out.String() + stderr.String()
	for _, c := range changing {
		text = c.found.ReplaceAllString(text, c.shown)
	}
	fmt.Printf("%sexit code %d\n", text, cmd.ProcessState.ExitCode())
}

type step struct{ Step, SecretId, ClientRequestToken string }

// rotateNothing rotates a secret like AWS's template. If HOLD names a file, setSecret creates the file HOLD.reached,
// and waits until HOLD exists.
func rotateNothing(ctx context.Context, e step) error {
	if hold := os.Getenv("HOLD"); hold != "" && e.Step == "setSecret" {
		if err := os.WriteFile(hold+".reached", nil, 0o600); err != nil {
			return err
		}
		for _, err := os.Stat(hold); err != nil; _, err = os.Stat(hold) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	return rotateLikeTemplate(ctx, secretsmanager.NewFromConfig(cfg), e)
}

func rotateLikeTemplate(ctx context.Context, c *secretsmanager.Client, e step) error {
	switch e.Step {
	case "createSecret":
		in := &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId, VersionId: &e.ClientRequestToken}
		if _, err := c.GetSecretValue(ctx, in); err == nil {
			return nil
		}
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken,
			SecretString: aws.String("made for " + e.ClientRequestToken), VersionStages: []string{"AWSPENDING"},
		})
		return err
	case "finishSecret":
		v, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId})
		if err != nil {
			return err
		}
		_, err = c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"),
			MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: v.VersionId,
		})
		return err
	}
	return nil
}

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// TestScripts runs each script with a new simulator and a real PostgreSQL. Scripts may use, in addition to
// testscript's commands:
//
//	sql STATEMENT               run a statement as the server's administrator
//	secret NAME FILE            create a secret, with variables expanded, and set ARN_NAME
//	put NAME LABEL TOKEN FILE   put a version with a label
//	stage NAME LABEL FROM TO    move a label; - is no version
//	delete NAME                 schedule a secret's deletion
//	cancel NAME                 turn a secret's rotation off
//	happened NAME EVENT COUNT   wait until the simulator's record has the event COUNT times
//	own NAME SERVICE            make a service the owner of a secret
//	rotate NAME TOKEN           begin a rotation with a function that does nothing
//	exec steady COMMAND ...     print both outputs and the exit code, for a comparison
//	exits CODE COMMAND ...      like exec, and check the exit code
//	documented COMMAND          check the last output against docs/rotatorctl.schema.json
//	everything                  check that each member of the schema was seen
//	reach URL                   wait until a simulator answers at the URL, and use it
//	there FILE                  wait until a file exists
func TestScripts(t *testing.T) {
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", // rewrites the expected texts
		Setup: func(env *testscript.Env) error {
			simulator := sim.New(sim.Options{MaxAttempts: 1})
			server := httptest.NewServer(simulator.Handler())
			env.Defer(server.Close)
			// plain is the simulator without its record, like AWS.
			plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					http.NotFound(w, r)
					return
				}
				simulator.Handler().ServeHTTP(w, r)
			}))
			env.Defer(plain.Close)
			idle := func(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }
			simulator.RegisterFunction(functionARN, sim.InvokerFunc(idle))
			env.Values["sim"] = simulator
			schema, err := schemas()
			if err != nil {
				return err
			}
			env.Values["schema"] = schema
			env.Values["seen"] = map[string]bool{}
			good := functionARN + "-good"
			register := func(arn string, f sim.InvokerFunc) { simulator.RegisterFunction(arn, f) }
			register(good, func(ctx context.Context, payload []byte) ([]byte, string, error) {
				var e step
				err := json.Unmarshal(payload, &e)
				if err == nil {
					err = rotateLikeTemplate(ctx, clientAt(server.URL), e)
				}
				return []byte("null"), "", err
			})
			slow := functionARN + "-slow"
			register(slow, func(ctx context.Context, _ []byte) ([]byte, string, error) {
				<-ctx.Done()
				return nil, "", ctx.Err()
			})
			// bad fails like the real function, with a cause and with advice in parentheses.
			const refused = `{"errorType":"LoginRefused","errorMessage":"testSecret: LoginRefused: ` +
				`the target refused AWSPENDING (check the user (its lock) at the target)"}`
			bad := functionARN + "-bad"
			register(bad, func(_ context.Context, payload []byte) ([]byte, string, error) {
				if strings.Contains(string(payload), "testSecret") {
					return []byte(refused), "Unhandled", nil
				}
				return []byte("null"), "", nil
			})
			// silent never answers. It creates the file "reached" when it gets a request.
			reached := filepath.Join(env.WorkDir, "reached")
			silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_ = os.WriteFile(reached, nil, 0o600)
				<-r.Context().Done()
			}))
			logs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				serveLog(w, r, env.WorkDir, simulator)
			}))
			denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>`+
					`User: me is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>`)
			}))
			env.Defer(func() { silent.CloseClientConnections(); silent.Close(); denying.Close(); logs.Close() })
			peer, err := webServer()
			if err != nil {
				return err
			}
			env.Defer(func() { peer.Close() })
			_, peerPort, _ := net.SplitHostPort(peer.Addr().String())
			free, err := freeAddress()
			if err != nil {
				return err
			}
			for k, v := range map[string]string{
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL, "AWS_REGION": "us-east-1",
				"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated",
				"TZ": "UTC", "SIMPORT": server.URL[strings.LastIndexByte(server.URL, ':')+1:],
				"IDLE": functionARN, "GOOD": good, "SLOW": slow, "BAD": bad, "SILENT": silent.URL,
				"DENYING": denying.URL, "LOGS": logs.URL, "PLAIN": plain.URL, "RECORDED": server.URL,
				"WEBPORT": peerPort, "FREE": free,
				"CA_BUNDLE": pg.CAFile, "CA": pg.CAFile, "PGHOST_": pg.Host, "PGPORT_": strconv.Itoa(pg.Port),
				"SUPERUSER": pg.User, "SUPERPASSWORD": pg.Password, "U": testserver.Unique("u_"),
			} {
				env.Setenv(k, v)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sql": func(ts *testscript.TestScript, _ bool, args []string) {
				conn, err := pgx.Connect(context.Background(), pg.URL("postgres"))
				ts.Check(err)
				defer conn.Close(context.Background())
				_, err = conn.Exec(context.Background(), args[0])
				ts.Check(err)
			},
			"secret": func(ts *testscript.TestScript, _ bool, args []string) {
				out, err := client(ts).CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{
					Name: &args[0], ClientRequestToken: aws.String("11111111-1111-1111-1111-111111111111"),
					SecretString: value(ts, args[1]),
				})
				ts.Check(err)
				ts.Setenv("ARN_"+args[0], *out.ARN)
			},
			"put": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := client(ts).PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{
					SecretId: &args[0], VersionStages: []string{args[1]}, ClientRequestToken: &args[2],
					SecretString: value(ts, args[3]),
				})
				ts.Check(err)
			},
			"stage": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &args[0], VersionStage: &args[1]}
				if args[2] != "-" {
					in.RemoveFromVersionId = &args[2]
				}
				if args[3] != "-" {
					in.MoveToVersionId = &args[3]
				}
				_, err := client(ts).UpdateSecretVersionStage(context.Background(), in)
				ts.Check(err)
			},
			"delete": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.DeleteSecretInput{SecretId: &args[0]}
				_, err := client(ts).DeleteSecret(context.Background(), in)
				ts.Check(err)
			},
			"cancel": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.CancelRotateSecretInput{SecretId: &args[0]}
				_, err := client(ts).CancelRotateSecret(context.Background(), in)
				ts.Check(err)
			},
			"happened": func(ts *testscript.TestScript, _ bool, args []string) {
				url := ts.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER") + "/history/" + args[0]
				deadline := time.Now().Add(time.Minute)
				for {
					resp, err := http.Get(url)
					ts.Check(err)
					text, err := io.ReadAll(resp.Body)
					ts.Check(errors.Join(err, resp.Body.Close()))
					if strings.Count(string(text), args[1]) == atoi(ts, args[2]) {
						return
					}
					if time.Now().After(deadline) {
						ts.Fatalf("%s did not happen %s times: %s", args[1], args[2], text)
					}
					time.Sleep(20 * time.Millisecond)
				}
			},
			"own": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value("sim").(*sim.Sim).Own(ts.Getenv("ARN_"+args[0]), args[1])
			},
			"reach": func(ts *testscript.TestScript, _ bool, args []string) {
				deadline := time.Now().Add(20 * time.Second)
				for {
					resp, err := http.Get(args[0])
					if err == nil {
						ts.Check(resp.Body.Close())
						break
					}
					if time.Now().After(deadline) {
						ts.Fatalf("nothing answers at %s", args[0])
					}
					time.Sleep(20 * time.Millisecond)
				}
				ts.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", args[0])
			},
			"there": func(ts *testscript.TestScript, _ bool, args []string) {
				deadline := time.Now().Add(20 * time.Second)
				for _, err := os.Stat(ts.MkAbs(args[0])); err != nil; _, err = os.Stat(ts.MkAbs(args[0])) {
					if time.Now().After(deadline) {
						ts.Fatalf("%s does not appear", args[0])
					}
					time.Sleep(20 * time.Millisecond)
				}
			},
			"exits":      exits,
			"documented": documented,
			"everything": func(ts *testscript.TestScript, _ bool, _ []string) {
				seen := ts.Value("seen").(map[string]bool)
				for _, command := range described {
					schema := ts.Value("schema").(map[string]*jsonschema.Schema)[command]
					for _, m := range slices.Sorted(maps.Keys(schema.Properties)) {
						if !seen[command+" "+m] {
							ts.Fatalf("no output of %s had the member %s", command, m)
						}
					}
				}
			},
			"rotate": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := client(ts).RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
					SecretId: &args[0], ClientRequestToken: &args[1], RotationLambdaARN: aws.String(functionARN),
					RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
				})
				ts.Check(err)
				_ = ts.Value("sim").(*sim.Sim).WaitRotation(context.Background(), args[0])
			},
		},
	})
}

func atoi(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != atoi(ts, args[0]) {
		ts.Fatalf("exit code %d, want %s\n%s%s", code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func documented(ts *testscript.TestScript, _ bool, args []string) {
	x, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile("stdout")))
	ts.Check(err)
	schema, ok := ts.Value("schema").(map[string]*jsonschema.Schema)[args[0]]
	if !ok {
		ts.Fatalf("the schema has no %s", args[0])
	}
	ts.Check(schema.Validate(x))
	for _, m := range members(x) {
		ts.Value("seen").(map[string]bool)[args[0]+" "+m] = true
	}
}

func client(ts *testscript.TestScript) *secretsmanager.Client {
	return clientAt(ts.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER"))
}

func clientAt(url string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{BaseEndpoint: &url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
}

// value reads a file and expands the script's variables in it.
func value(ts *testscript.TestScript, file string) *string {
	return aws.String(os.Expand(ts.ReadFile(file), ts.Getenv))
}

// filtered matches the secret in a filter.
var filtered = regexp.MustCompile(`^\{ \$\.secret = "(arn:[^"]+)" && \(\$\.message = "step \*" \|\| \$\.message = "event not handled"\) \}$`)

// serveLog answers FilterLogEvents with the lines of the file "log", with the version of the last
// rotation in place of VERSION, or denies it if there is no such file.
func serveLog(w http.ResponseWriter, r *http.Request, dir string, simulator *sim.Sim) {
	var in struct{ LogGroupName, FilterPattern string }
	lines, err := os.ReadFile(filepath.Join(dir, "log"))
	if derr := json.NewDecoder(r.Body).Decode(&in); derr != nil || err != nil ||
		!strings.HasPrefix(in.LogGroupName, "/aws/lambda/rotator") || !filtered.MatchString(in.FilterPattern) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"AccessDeniedException","message":"not authorized to perform: logs:FilterLogEvents"}`)
		return
	}
	version := ""
	history, err := simulator.History(filtered.FindStringSubmatch(in.FilterPattern)[1])
	if err == nil && len(history) > 0 {
		version = history[len(history)-1].Version
	}
	events := []map[string]any{}
	for line := range strings.Lines(strings.ReplaceAll(string(lines), "VERSION", version)) {
		events = append(events, map[string]any{"message": line})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"events": events})
}

// webServer immediately answers every request with an error, like many web servers.
func webServer() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	return l, nil
}

// freeAddress returns a free address. Its port is outside the range that the system assigns, so it stays
// free until the script uses it.
func freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("no port is free")
}

// described lists the commands in the schema.
var described = []string{"error", "check", "status", "rotate", "recover", "adopt", "policy", "event", "sim", "version"}

// ofMany lists the outputs about several secrets, which TestFleet checks.
var ofMany = []string{"list", "migrate", "batch"}

// schemas returns the schema of each command's output.
func schemas() (map[string]*jsonschema.Schema, error) {
	all := make(map[string]*jsonschema.Schema)
	for _, name := range append(described, ofMany...) {
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		schema, err := compiler.Compile("../docs/rotatorctl.schema.json#/$defs/" + name)
		if err != nil {
			return nil, err
		}
		all[name] = schema
	}
	return all, nil
}

// members returns the names of all members of a JSON value, except those inside an IAM policy.
func members(x any) (names []string) {
	switch x := x.(type) {
	case []any:
		for _, one := range x {
			names = append(names, members(one)...)
		}
	case map[string]any:
		for name, one := range x {
			names = append(names, name)
			if name != "policy" {
				names = append(names, members(one)...)
			}
		}
	}
	return names
}
