package directory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// fixture is a real domain in which a fake of AWS's API resets passwords.
type fixture struct {
	*testserver.SambaServer
	fake *fakeDirectories
	url  string

	mu    sync.Mutex
	ports map[string]int // of the proxies, by the address that represents each
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{SambaServer: testserver.SharedSamba(t, testserver.SambaOptions{}), ports: map[string]int{}}
	f.fake = newFake(f.reset)
	api := httptest.NewServer(f.fake.Handler())
	t.Cleanup(api.Close)
	f.url = api.URL
	return f
}

// reset does what ds:ResetUserPassword does, which also enables the user. It returns the API's error code, or "".
func (f *fixture) reset(user, password string) (code string) {
	dn, err := f.Find("sAMAccountName", user)
	if err != nil {
		return "UserDoesNotExistException"
	}
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace("unicodePwd", []string{testserver.ADPassword(password)})
	m.Replace("userAccountControl", []string{"512"})
	if f.Admin().Modify(m) != nil {
		return "InvalidPasswordException"
	}
	return ""
}

func (f *fixture) Engine() engine.Engine { return f.engine() }

func (f *fixture) engine() *Engine {
	fields, err := ReadFields(func(string) string { return "" })
	if err != nil {
		panic(err) // they are the defaults
	}
	e := New(func(context.Context, string) (aws.Config, error) {
		own := credentials.StaticCredentialsProvider{Value: f.fake.Credentials()}
		return aws.Config{Region: "us-east-1", BaseEndpoint: &f.url, Credentials: own}, nil
	}, fields)
	controller := e.controller
	e.controller = func(ip string) engine.Target {
		f.mu.Lock()
		defer f.mu.Unlock()
		if port, ok := f.ports[ip]; ok {
			return engine.Target{Host: "127.0.0.1", Port: port}
		}
		return controller(ip)
	}
	return e
}

func (f *fixture) Target() string { return net.JoinHostPort(f.Host, "88") }

func (f *fixture) Traits() enginetest.Traits { return enginetest.Traits{} }

// directory creates a directory with the domain controller's address, or with one that represents a proxy.
func (f *fixture) directory(port int) (id string) {
	id = testserver.Unique("d-00")
	address := f.Host
	if port != 88 {
		f.mu.Lock()
		defer f.mu.Unlock()
		address = fmt.Sprintf("192.0.2.%d", len(f.ports))
		if len(f.ports) > 250 {
			address = fmt.Sprintf("2001:db8::%x", len(f.ports))
		}
		f.ports[address] = port
	}
	f.fake.Put(id, fakeDirectory{Name: strings.ToLower(testserver.ADRealm), Addresses: []string{address}})
	return id
}

func (f *fixture) value(directory, user, password string) engine.Value {
	v := engine.StringValue("{}").With("awsSeamlessDomainDirectoryId", directory)
	return v.With("awsSeamlessDomainUsername", user).With("awsSeamlessDomainPassword", password)
}

func (f *fixture) New(_ context.Context, _ string, port int) (value, superuser engine.Value, err error) {
	name, password := testserver.Unique("suite-"), testserver.Unique("First-Passw0rd-")
	_, err = f.AddPerson(name, password)
	return f.value(f.directory(port), name, password), superuser, err
}

// Open logs in over LDAP.
func (f *fixture) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("awsSeamlessDomainUsername")
	password, _ := v.Text("awsSeamlessDomainPassword")
	err := f.Bind(user+"@"+strings.ToLower(testserver.ADRealm), password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) && strings.Contains(err.Error(), "data 52e,") {
		return engine.LoginRefused
	}
	return err
}

func (f *fixture) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("awsSeamlessDomainUsername")
	password, _ := v.Text("awsSeamlessDomainPassword")
	if code := f.reset(user, password); code != "" {
		return errors.New(code)
	}
	return nil
}

// Acts returns what users of the domain can do.
func (f *fixture) Acts(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	name, _ := v.Text("awsSeamlessDomainUsername")
	user := name + "@" + strings.ToLower(testserver.ADRealm)
	return []enginetest.Act{
		{Name: "wrong passwords, fewer than lock the account", Do: func(context.Context) (func(), error) {
			for range 5 {
				err := f.Bind(user, "Guessed-Passw0rd-1")
				if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
					return nil, fmt.Errorf("a guess: %w", err)
				}
			}
			return nil, nil
		}},
		{Name: "holds many connections", Do: func(context.Context) (func(), error) {
			var held []net.Conn
			for range 50 {
				conn, err := net.Dial("tcp", f.Target())
				if err != nil {
					return nil, err
				}
				held = append(held, conn)
			}
			return func() {
				for _, conn := range held {
					conn.Close()
				}
			}, nil
		}},
	}, nil
}

func TestEngine(t *testing.T) {
	f := newFixture(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return f })
}
