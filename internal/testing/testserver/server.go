package testserver

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

//go:embed guard.sh
var guardScript string

//go:embed conf
var confFiles embed.FS

// confTemplates are the servers' files. Each is executed with the server, S, and its options, O.
var confTemplates = template.Must(template.New("").
	Funcs(template.FuncMap{"contains": strings.Contains, "release": release}).ParseFS(confFiles, "conf/*"))

// startLimit limits the start of one server. It is over ten times what the slowest, RabbitMQ, takes on two idle cores
// (under eight seconds).
const startLimit = 90 * time.Second

// ErrMissing means that the server's programs are not installed.
var ErrMissing = errors.New("not installed")

// Server holds what all servers in this package have in common. Its fields do not change.
type Server struct {
	// Host is "localhost", which is in the certificate in addition to 127.0.0.1, or the server's loopback address.
	Host string
	// Port is the TCP port.
	Port int
	// User and Password are the administrator's.
	User, Password string
	// NoTLS means that the server accepts only connections without TLS.
	NoTLS bool
	// CA issued the server's certificate; CAFile is the path of its PEM file.
	CA     *CA
	CAFile string
	// Dir holds everything that the server writes; Stop removes it.
	Dir string
	// LogFile holds the server's output.
	LogFile string

	name       string
	cert       *Certificate
	launch     launch
	process    *process
	credential *syscall.Credential // of the user that it runs as; nil means this user
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// clientTLS returns the configuration of the server's clients, or nil without TLS.
func (s *Server) clientTLS() *tls.Config {
	if s.NoTLS {
		return nil
	}
	return s.CA.ClientTLS(s.Host)
}

// Logs returns the content of LogFile.
func (s *Server) Logs() (string, error) {
	b, err := os.ReadFile(s.LogFile)
	return string(b), err
}

// Stop ends the server, waits until its processes are gone and removes Dir. A second call does nothing.
func (s *Server) Stop() error {
	s.end()
	return os.RemoveAll(s.Dir)
}

// Halt ends the server like Stop but keeps Dir, for Resume.
func (s *Server) Halt() error {
	if err := s.write("keep", ""); err != nil {
		return err
	}
	s.end()
	return os.Remove(s.path("keep"))
}

// end closes the guard's pipe, which makes it end the program, and waits for the guard.
func (s *Server) end() {
	if s.process == nil {
		return
	}
	s.process.hold.Close()
	<-s.process.exited
	// The guard finally kills its own process group, itself included, so the error is meaningless.
	_ = s.process.cmd.Wait()
	s.process = nil
}

// newServer describes a server that start will start. If ca or cert is nil, start creates one.
func newServer(name string, noTLS bool, ca *CA, cert *Certificate) Server {
	// Not t.TempDir: other users cannot read it, and some servers refuse to run as root.
	dir := filepath.Join(os.TempDir(), Unique("rotator-"+name+"-"))
	s := Server{
		Host: "localhost", User: "admin", Password: Unique("admin-"), NoTLS: noTLS,
		CA: ca, cert: cert, CAFile: filepath.Join(dir, "ca.crt"),
		Dir: dir, LogFile: filepath.Join(dir, "server.log"), name: name,
	}
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root, and only Samba needs root. This is the user nobody on Linux.
		s.credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	return s
}

// prepare creates the server's directory, with an empty folder data and the certificates of the CA and the server
// (ca.crt, server.crt, server.key), owned by the user that the server will run as.
func (s *Server) prepare() (err error) {
	if s.CA == nil {
		if s.CA, err = NewCA(); err != nil {
			return err
		}
	}
	if s.cert == nil {
		if s.cert, err = s.CA.Issue("localhost", "127.0.0.1", s.Host); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.Mkdir(s.path("data"), 0o700),
		s.write("ca.crt", string(s.CA.PEM)),
		s.write("server.crt", string(s.cert.CertPEM)),
		s.write("server.key", string(s.cert.KeyPEM)),
		s.own(s.path("data")), s.own(s.Dir),
	)
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// write creates a file in the server's directory that only the server may read.
func (s *Server) write(name, content string) error {
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		return err
	}
	return s.own(s.path(name))
}

// run runs a program as the server's user, for preparations such as initdb, and waits for it. Errors show the output.
func (s *Server) run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.Dir
	cmd.Env = environment(s.Dir, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return nil
}

// launch defines how to start a server on a port and how to detect that it is ready.
type launch struct {
	// program is a program of the machine, a path in the cache that make's target fills (by default deps), or an
	// absolute path.
	program, target string
	// port is the server's port if it is fixed.
	port int
	// ports are filled with free ports, in addition to the server's.
	ports []*int
	// conf are the names of templates in the folder conf, which become files in the server's directory. data has the
	// server and its options. A resumed server keeps its files.
	conf []string
	data confData
	// setup, if not nil, prepares the first start, after the server's files were written.
	setup func(ctx context.Context) error
	// args returns the program's arguments.
	args func() []string
	env  []string
	// signal asks the program to end quickly; the default is TERM.
	signal string
	// ready returns nil when the server answers its administrator.
	ready func(ctx context.Context) error
}

// confData is what the templates of a server's files see.
type confData struct{ S, O any }

var portTaken = regexp.MustCompile(`(?i)already in use|eaddrinuse|could not bind|can't bind|failed to bind`)

// start launches the server on a free port and waits until it is ready. If another process takes the port before the
// server binds it, start tries another. If start fails, the server is stopped and its directory removed.
func (s *Server) start(ctx context.Context, l launch) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", s.name, err), s.Stop())
		}
	}()
	if l.program, err = find(l.program, cmp.Or(l.target, "deps")); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	s.launch = l
	for attempt := range 3 {
		if err := s.configure(l); err != nil {
			return err
		}
		if attempt == 0 && l.setup != nil {
			if err := l.setup(ctx); err != nil {
				return err
			}
		}
		if err = s.Resume(ctx); err == nil {
			return nil
		}
		log, _ := s.Logs()
		if !portTaken.MatchString(log) {
			return fmt.Errorf("%w\n%s", err, tail(log))
		}
		if err := errors.Join(s.Halt(), os.Remove(s.LogFile)); err != nil {
			return err
		}
	}
	return err
}

// configure chooses the ports and writes the server's files.
func (s *Server) configure(l launch) (err error) {
	if s.Port = l.port; s.Port == 0 {
		l.ports = append(l.ports, &s.Port)
	}
	for _, port := range l.ports {
		if *port, err = FreePort(); err != nil {
			return err
		}
	}
	for _, name := range l.conf {
		var content strings.Builder
		if err := confTemplates.ExecuteTemplate(&content, name, l.data); err != nil {
			return err
		}
		if err := s.write(name, content.String()); err != nil {
			return err
		}
	}
	return nil
}

// Resume starts a halted server again, on the same port with the same data.
func (s *Server) Resume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := s.spawn(append([]string{s.launch.program}, s.launch.args()...))
	if err != nil {
		return err
	}
	s.process = p
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		// Try a bare connection first, because some drivers wait half a second before they retry.
		conn, err := (&net.Dialer{}).DialContext(attempt, "tcp", s.Addr())
		if err == nil {
			conn.Close()
			err = s.launch.ready(attempt)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the server exited during its start: %s", strings.TrimSpace(p.status))
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// process is a program that runs under guard.sh.
type process struct {
	cmd    *exec.Cmd
	hold   *os.File      // our end of the guard's file descriptor 3
	exited chan struct{} // closed when the program has ended
	status string        // how it ended, once exited is closed
}

// spawn runs command under guard.sh, as the server's user.
func (s *Server) spawn(command []string) (*process, error) {
	dir, signal := s.Dir, cmp.Or(s.launch.signal, "TERM")
	read, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command("sh", append([]string{"-c", guardScript, "guard", dir, signal}, command...)...)
	cmd.Dir = dir
	cmd.Env = environment(dir, s.launch.env)
	cmd.ExtraFiles = []*os.File{read}
	// A separate session keeps Ctrl-C in the terminal from ending the guard.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.credential}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		hold.Close()
		return nil, fmt.Errorf("start the guard of %s: %w", filepath.Base(command[0]), err)
	}
	p := &process{cmd: cmd, hold: hold, exited: make(chan struct{})}
	go func() {
		p.status, _ = bufio.NewReader(out).ReadString('\n')
		close(p.exited)
		_, _ = io.Copy(io.Discard, out)
	}()
	return p, nil
}

// FreePort returns an unused TCP port on 127.0.0.1. It is below the range for outgoing connections: the tests open
// thousands of these, and one might otherwise take the port before its server starts.
func FreePort() (int, error) {
	for range 100 {
		port := 10000 + mathrand.IntN(20000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("find a free port: 100 ports are in use")
}

// Unique returns prefix followed by eight random hexadecimal digits, for names on a shared server.
func Unique(prefix string) string {
	b := make([]byte, 4)
	rand.Read(b) // never fails: see crypto/rand
	return prefix + hex.EncodeToString(b)
}

// own changes the owner of path to the user that the server runs as.
func (s *Server) own(path string) error {
	if s.credential == nil {
		return nil
	}
	return os.Chown(path, int(s.credential.Uid), int(s.credential.Gid))
}

// environment returns a server's environment: this process's PATH and a separate home, but not this process's locale or
// the settings of its clients.
func environment(dir string, extra []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + dir, "LC_ALL=C",
		"TMPDIR=" + dir}, extra...)
}

func find(program, target string) (string, error) {
	if filepath.IsAbs(program) {
		_, err := os.Stat(program)
		return program, err
	}
	if strings.Contains(program, "/") {
		return cached(program, target)
	}
	return installed(program)
}

// installed finds an executable in PATH or in /usr/sbin, where Debian installs servers. With the build tag next, it
// searches only that release.
func installed(name string) (string, error) {
	files, target := []string{name, "/usr/sbin/" + name}, "deps"
	if next {
		files, target = []string{release() + "/usr/bin/" + name, release() + "/usr/sbin/" + name}, "deps-next"
	}
	for _, file := range files {
		if path, err := exec.LookPath(file); err == nil {
			return path, nil
		}
	}
	return "", missing(name, target)
}

func missing(name, target string) error {
	return fmt.Errorf("%s: %w: run `make %s`", name, ErrMissing, target)
}

// cached finds a program that scripts/deps.sh installed in a cache: root's cache is for everybody; a developer's is in
// the home directory.
func cached(program, target string) (string, error) {
	dirs := []string{"/var/cache/rotator-testserver"}
	if os.Geteuid() != 0 {
		home := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
		dirs = append(dirs, filepath.Join(home, "rotator-testserver"))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, program)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", missing(filepath.Base(program), target)
}

// Python returns a Python interpreter that has boto3, the AWS CLI and pytest.
func Python() (string, error) {
	python, err := cached("python-1/bin/python3", "deps")
	if err != nil {
		python = "python3"
	}
	if exec.Command(python, "-c", "import awscli, boto3, pytest").Run() != nil {
		return "", missing("Python with boto3, the AWS CLI and pytest", "deps")
	}
	return python, nil
}

// trixie is the tree of Debian 13's packages in the cache, created by `make deps-next`.
const trixie = "trixie-1"

// release returns the root directory of the servers that tests start: the machine's or, with the build tag next, the
// tree of Debian 13.
func release() string {
	if !next {
		return ""
	}
	root, _ := cached(trixie, "deps-next")
	return root
}

func tail(log string) string {
	const most = 4000
	if len(log) > most {
		return "…" + log[len(log)-most:]
	}
	return log
}

type stopper interface{ Stop() error }

// during returns a function that starts a server for the duration of a test.
func during[O any, S stopper](start func(context.Context, O) (S, error)) func(testing.TB, O) S {
	return func(t testing.TB, options O) S {
		t.Helper()
		s, err := start(context.Background(), options)
		must(t, err, "start")
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Errorf("testserver: stop: %v", err)
			}
		})
		return s
	}
}

// shared returns a function that starts one server with the same options for all tests of a binary. The guard stops it
// when the process ends.
func shared[O comparable, S stopper](start func(context.Context, O) (S, error)) func(testing.TB, O) S {
	var servers sync.Map
	return func(t testing.TB, options O) S {
		t.Helper()
		once, _ := servers.LoadOrStore(options,
			sync.OnceValues(func() (S, error) { return start(context.Background(), options) }))
		s, err := once.(func() (S, error))()
		must(t, err, "start")
		return s
	}
}

func must(t testing.TB, err error, what string) {
	t.Helper()
	if err != nil {
		t.Fatalf("testserver: %s: %v", what, err)
	}
}

// database creates a database with a unique name until the test's end, and returns the name.
func database(t testing.TB, exec func(statement string) error, dropOption string) string {
	t.Helper()
	name := Unique("db_")
	must(t, exec("CREATE DATABASE "+name), "create a database")
	t.Cleanup(func() {
		if err := exec("DROP DATABASE " + name + dropOption); err != nil {
			t.Errorf("testserver: drop the database: %v", err)
		}
	})
	return name
}
