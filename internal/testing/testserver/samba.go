package testserver

import (
	"context"
	"crypto/tls"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
)

// The domain that StartSamba provisions.
const (
	ADRealm  = "CORP.EXAMPLE.COM"
	ADBase   = "DC=corp,DC=example,DC=com"
	ADPeople = "OU=people," + ADBase
)

// SambaOptions says how to start Samba. With the zero value, only the latest password works.
type SambaOptions struct {
	// OldPasswords is for how many minutes logins accept a password after it was changed. Active
	// Directory's default is 60.
	OldPasswords int
}

// SambaServer is Samba as the domain controller of a domain. Host is its loopback address and User
// its administrator's name; Port speaks LDAPS. Port 88 speaks Kerberos.
type SambaServer struct {
	Server
	admin *ldap.Conn
}

//go:embed conf/smb.conf
var sambaFiles embed.FS

// StartSamba provisions a domain and starts the machine's Samba. Passwords must be complex and differ from the last 24;
// twenty wrong ones lock an account. They may be changed at any age: see SambaServer.Policy. Samba's ports are fixed,
// so it needs root and a loopback address that nobody else uses. Measured on two cores: 4 s.
func StartSamba(ctx context.Context, o SambaOptions) (*SambaServer, error) {
	address, err := ownAddress()
	if err != nil {
		return nil, fmt.Errorf("samba: %w", err)
	}
	s := &SambaServer{Server: NewServer("samba", false, nil, nil)}
	// It runs as root, and rejects a key file of another user.
	s.credential, s.Host = nil, address
	s.User, s.Password = "Administrator@"+strings.ToLower(ADRealm), Unique("Admin-Passw0rd-")
	return s, s.Start(ctx, Launch{
		Program: "samba", Port: 636, Files: sambaFiles, S: s, O: o, Setup: s.provision,
		Args: func() []string {
			return []string{"--foreground", "--no-process-group", "--debug-stdout", "--model=single",
				"--configfile=" + s.Path("smb.conf")}
		},
		Env: sambaEnv, Ready: s.settle,
	})
}

// sambaEnv keeps its databases from waiting for the disk.
var sambaEnv = []string{"TDB_NO_FSYNC=1"}

// ownAddress returns a loopback address whose LDAPS port is free. On Linux, all of 127.0.0.0/8 is loopback, so concurrent
// tests hardly ever choose the same address.
func ownAddress() (address string, err error) {
	for range 10 {
		n := rand.Uint32()
		address = net.IPv4(127, byte(n>>16)|64, byte(n>>8), 1+byte(n%250)).String()
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(address, "636")); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("an Active Directory listens on ports below 1024: run the tests as root, on Linux: %w", err)
}

// provision makes the domain's databases.
func (s *SambaServer) provision(ctx context.Context) error {
	for _, name := range []string{"private", "lock", "state", "cache", "pid", "ncalrpc", "dns", "ntp", "winbindd",
		"sysvol", "netlogon"} {
		if err := os.Mkdir(s.Path(name), 0o755); err != nil {
			return err
		}
	}
	return s.Tool(ctx, "domain", "provision", "--realm="+ADRealm, "--domain=CORP", "--server-role=dc",
		"--dns-backend=NONE", "--host-name=dc", "--host-ip="+s.Host, "--adminpass="+s.Password)
}

// Tool runs samba-tool.
func (s *SambaServer) Tool(ctx context.Context, args ...string) error {
	tool, err := Find("samba-tool", "deps")
	if err != nil {
		return err
	}
	return s.Run(ctx, sambaEnv, tool, append(args, "--configfile="+s.Path("smb.conf"))...)
}

// settle makes the domain fit for tests: see StartSamba.
func (s *SambaServer) settle(context.Context) error {
	conn, err := s.Dial(s.User, s.Password)
	if err != nil {
		return err
	}
	m := ldap.NewModifyRequest(ADBase, nil)
	m.Replace("minPwdAge", []string{"0"})
	m.Replace("lockoutThreshold", []string{"20"})
	people := ldap.NewAddRequest(ADPeople, nil)
	people.Attribute("objectClass", []string{"organizationalUnit"})
	err = conn.Modify(m)
	// A server that is resumed already has it.
	if adding := conn.Add(people); !ldap.IsErrorWithCode(adding, ldap.LDAPResultEntryAlreadyExists) {
		err = errors.Join(err, adding)
	}
	if err != nil {
		conn.Close()
		return err
	}
	s.admin = conn
	return nil
}

// Dial binds as a user and returns the server's error.
func (s *SambaServer) Dial(user, password string) (*ldap.Conn, error) {
	return BindLDAP("ldaps://"+s.Addr(), s.ClientTLS(), user, password)
}

// BindLDAP connects and binds. It returns the server's error unchanged.
func BindLDAP(url string, config *tls.Config, user, password string) (*ldap.Conn, error) {
	conn, err := ldap.DialURL(url, ldap.DialWithTLSConfig(config))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(20 * time.Second)
	if err := conn.Bind(user, password); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// SharedSamba starts a Samba for the whole test binary.
var SharedSamba = Shared(StartSamba)

// Admin returns a connection that is bound as the domain's administrator.
func (s *SambaServer) Admin() *ldap.Conn { return s.admin }

// Find returns the DN of the only entry with a value.
func (s *SambaServer) Find(attribute, value string) (dn string, err error) {
	filter := "(" + attribute + "=" + ldap.EscapeFilter(value) + ")"
	request := ldap.NewSearchRequest(ADBase, ldap.ScopeWholeSubtree, 0, 2, 0, false, filter, []string{"1.1"}, nil)
	found, err := s.admin.Search(request)
	switch {
	case err != nil:
		return "", err
	case len(found.Entries) != 1:
		return "", fmt.Errorf("%d entries have %s %s", len(found.Entries), attribute, value)
	}
	return found.Entries[0].DN, nil
}

// Bind logs in and out, and returns the server's error.
func (s *SambaServer) Bind(user, password string) error {
	conn, err := s.Dial(user, password)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// ADPassword encodes a password for the attribute unicodePwd.
func ADPassword(password string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

// AddPerson adds a user with a password, who logs in as name@corp.example.com. It returns the DN, which contains an
// escaped comma.
func (s *SambaServer) AddPerson(name, password string) (dn string, err error) {
	dn = "CN=" + ldap.EscapeDN(name+", a person") + "," + ADPeople
	add := ldap.NewAddRequest(dn, nil)
	add.Attribute("objectClass", []string{"user"})
	add.Attribute("sAMAccountName", []string{name})
	add.Attribute("userPrincipalName", []string{name + "@" + strings.ToLower(ADRealm)})
	add.Attribute("userAccountControl", []string{"512"}) // a normal account
	add.Attribute("unicodePwd", []string{ADPassword(password)})
	return dn, s.admin.Add(add)
}

// Person is AddPerson for a test.
func (s *SambaServer) Person(t testing.TB, name, password string) (dn string) {
	t.Helper()
	dn, err := s.AddPerson(name, password)
	Must(t, err, "add "+name)
	return dn
}

// Set replaces an attribute of an entry.
func (s *SambaServer) Set(t testing.TB, dn, attribute string, values ...string) {
	t.Helper()
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace(attribute, values)
	Must(t, s.admin.Modify(m), "set "+attribute)
}

// Policy gives a user a fine-grained password policy that requires only what the pairs of attribute and value say. Of
// several policies, the one with the lowest msDS-PasswordSettingsPrecedence applies; the default here is 100.
func (s *SambaServer) Policy(t testing.TB, dn string, pairs ...string) {
	t.Helper()
	values := map[string]string{
		"msDS-PasswordSettingsPrecedence": "100", "msDS-PasswordReversibleEncryptionEnabled": "FALSE",
		"msDS-PasswordHistoryLength": "0", "msDS-PasswordComplexityEnabled": "FALSE", "msDS-MinimumPasswordLength": "0",
		"msDS-MinimumPasswordAge": "0", "msDS-MaximumPasswordAge": ADDuration(1000 * time.Hour), "msDS-LockoutThreshold": "0",
		"msDS-LockoutObservationWindow": ADDuration(time.Minute), "msDS-LockoutDuration": ADDuration(time.Minute),
		"msDS-PSOAppliesTo": dn, "objectClass": "msDS-PasswordSettings",
	}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	add := ldap.NewAddRequest("CN="+Unique("policy-")+",CN=Password Settings Container,CN=System,"+ADBase, nil)
	for name, value := range values {
		add.Attribute(name, []string{value})
	}
	Must(t, s.admin.Add(add), "add a policy")
}

// ADDuration formats a duration as policies store it, in negative units of 100 ns.
func ADDuration(d time.Duration) string { return strconv.FormatInt(-d.Nanoseconds()/100, 10) }
