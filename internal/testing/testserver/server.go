package testserver

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
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

// functions are those that the templates of servers' files can call.
var functions = template.FuncMap{"contains": strings.Contains, "release": Release}

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
	launch     Launch
	process    *process
	credential *syscall.Credential // of the user that it runs as; nil means this user
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// ClientTLS returns the configuration of the server's clients, or nil without TLS.
func (s *Server) ClientTLS() *tls.Config {
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
	return os.Remove(s.Path("keep"))
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

// NewServer describes a server that Start will start. If ca or cert is nil, Start creates one.
func NewServer(name string, noTLS bool, ca *CA, cert *Certificate) Server {
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
		os.Mkdir(s.Path("data"), 0o700),
		s.write("ca.crt", string(s.CA.PEM)),
		s.write("server.crt", string(s.cert.CertPEM)),
		s.write("server.key", string(s.cert.KeyPEM)),
		s.own(s.Path("data")), s.own(s.Dir),
	)
}

// Path returns the path of a file in the server's directory.
func (s *Server) Path(name string) string { return filepath.Join(s.Dir, name) }

// write creates a file in the server's directory that only the server may read.
func (s *Server) write(name, content string) error {
	if err := os.WriteFile(s.Path(name), []byte(content), 0o600); err != nil {
		return err
	}
	return s.own(s.Path(name))
}

// Run runs a program as the server's user, for preparations such as initdb, and waits for it. Errors show the output.
func (s *Server) Run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.Dir
	cmd.Env = environment(s.Dir, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return nil
}

// Launch defines how to start a server on a port and how to detect that it is ready.
type Launch struct {
	// Program is the server's: see Find.
	Program string
	// Port is the server's port if it is fixed.
	Port int
	// Ports are filled with free ports, in addition to the server's.
	Ports []*int
	// Files holds templates in a folder, which become files in the server's directory. They see S, the server, and O,
	// its options. A resumed server keeps its files.
	Files embed.FS
	S, O  any
	// Setup, if not nil, prepares the first start, after the server's files were written.
	Setup func(ctx context.Context) error
	// Args returns the program's arguments.
	Args func() []string
	Env  []string
	// Signal asks the program to end quickly; the default is TERM.
	Signal string
	// Ready returns nil when the server answers its administrator.
	Ready func(ctx context.Context) error
}

var portTaken = regexp.MustCompile(`(?i)already in use|eaddrinuse|could not bind|can't bind|failed to bind`)

// Start launches the server on a free port and waits until it is ready. If another process takes the port before the
// server binds it, Start tries another. If Start fails, the server is stopped and its directory removed.
func (s *Server) Start(ctx context.Context, l Launch) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", s.name, err), s.Stop())
		}
	}()
	if l.Program, err = Find(l.Program, "deps"); err != nil {
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
		if attempt == 0 && l.Setup != nil {
			if err := l.Setup(ctx); err != nil {
				return err
			}
		}
		if err = s.Resume(ctx); err == nil {
			return nil
		}
		log, _ := s.Logs()
		if !portTaken.MatchString(log) {
			return fmt.Errorf("%w\n%s", err, log[max(0, len(log)-4000):])
		}
		if err := errors.Join(s.Halt(), os.Remove(s.LogFile)); err != nil {
			return err
		}
	}
	return err
}

// configure chooses the ports and writes the server's files.
func (s *Server) configure(l Launch) (err error) {
	if s.Port = l.Port; s.Port == 0 {
		l.Ports = append(l.Ports, &s.Port)
	}
	for _, port := range l.Ports {
		if *port, err = FreePort(); err != nil {
			return err
		}
	}
	files, err := fs.Glob(l.Files, "*/*")
	if err != nil || files == nil {
		return err
	}
	templates, err := template.New("").Funcs(functions).ParseFS(l.Files, files...)
	if err != nil {
		return err
	}
	for _, file := range files {
		var content strings.Builder
		if err := templates.ExecuteTemplate(&content, filepath.Base(file), l); err != nil {
			return err
		}
		if err := s.write(filepath.Base(file), content.String()); err != nil {
			return err
		}
	}
	return nil
}

// Resume starts a halted server again, on the same port with the same data.
func (s *Server) Resume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := s.spawn(append([]string{s.launch.Program}, s.launch.Args()...))
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
			err = s.launch.Ready(attempt)
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
	dir, signal := s.Dir, cmp.Or(s.launch.Signal, "TERM")
	read, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command("sh", append([]string{"-c", guardScript, "guard", dir, signal}, command...)...)
	cmd.Dir = dir
	cmd.Env = environment(dir, s.launch.Env)
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
		port := 10000 + rand.IntN(20000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("find a free port: 100 ports are in use")
}

// Unique returns prefix followed by eight random hexadecimal digits, for names on a shared server.
func Unique(prefix string) string { return fmt.Sprintf("%s%08x", prefix, rand.Uint32()) }

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

// Find finds a program of the machine, an absolute path, or a path in the cache that make's target fills.
func Find(program, target string) (string, error) {
	if filepath.IsAbs(program) {
		if _, err := os.Stat(program); err != nil {
			return "", missing(filepath.Base(program), target)
		}
		return program, nil
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
		files, target = []string{Release() + "/usr/bin/" + name, Release() + "/usr/sbin/" + name}, "deps-next"
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

// Release returns the root directory of the servers that tests start: the machine's or, with the build tag next, the
// tree of Debian 13's packages in the cache.
func Release() string {
	if !next {
		return ""
	}
	root, _ := cached("trixie-1", "deps-next")
	return root
}

type stopper interface{ Stop() error }

// During returns a function that starts a server for the duration of a test.
func During[O any, S stopper](start func(context.Context, O) (S, error)) func(testing.TB, O) S {
	return func(t testing.TB, options O) S {
		t.Helper()
		s, err := start(context.Background(), options)
		Must(t, err, "start")
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Errorf("testserver: stop: %v", err)
			}
		})
		return s
	}
}

// Shared returns a function that starts one server with the same options for all tests of a binary. The guard stops it
// when the process ends.
func Shared[O comparable, S stopper](start func(context.Context, O) (S, error)) func(testing.TB, O) S {
	var servers sync.Map
	return func(t testing.TB, options O) S {
		t.Helper()
		once, _ := servers.LoadOrStore(options,
			sync.OnceValues(func() (S, error) { return start(context.Background(), options) }))
		s, err := once.(func() (S, error))()
		Must(t, err, "start")
		return s
	}
}

// Must fails a test after an error.
func Must(t testing.TB, err error, what string) {
	t.Helper()
	if err != nil {
		t.Fatalf("testserver: %s: %v", what, err)
	}
}
