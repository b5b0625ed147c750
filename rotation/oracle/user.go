package oracle

import (
	"context"
	"slices"
	"strings"
)

// account is what the server knows of a user.
type account struct {
	name, status                   string
	tablespace, temporary, profile string
	power                          string // that makes it an administrator, or ""
}

func (t target) attributes(ctx context.Context, current, other *account) error {
	var clauses []string
	if current.tablespace != other.tablespace {
		clauses = append(clauses, "DEFAULT TABLESPACE "+quoted(current.tablespace))
	}
	if current.temporary != other.temporary {
		clauses = append(clauses, "TEMPORARY TABLESPACE "+quoted(current.temporary))
	}
	if current.profile != other.profile {
		clauses = append(clauses, "PROFILE "+quoted(current.profile))
	}
	want, err := t.quotas(ctx, current.name)
	if err != nil {
		return err
	}
	have, err := t.quotas(ctx, other.name)
	if err != nil {
		return err
	}
	for _, q := range want {
		if have.of(q[0]) != q[1] {
			clauses = append(clauses, "QUOTA "+limit(q[1])+" ON "+quoted(q[0]))
		}
	}
	for _, q := range have {
		named := slices.ContainsFunc(want, func(w []string) bool { return w[0] == q[0] })
		if !named && q[1] != "0" {
			clauses = append(clauses, "QUOTA 0 ON "+quoted(q[0]))
		}
	}
	if clauses == nil {
		return nil
	}
	return t.change(ctx, "ALTER USER "+quoted(other.name)+" "+strings.Join(clauses, " "))
}

// quotas are pairs of a tablespace and the bytes that a user may have in it, -1
// for any number.
type quotas [][]string

// of returns a tablespace's quota, "0" where there is none.
func (q quotas) of(tablespace string) string {
	for _, each := range q {
		if each[0] == tablespace {
			return each[1]
		}
	}
	return "0"
}

func (s *session) quotas(ctx context.Context, name string) (quotas, error) {
	return s.texts(ctx, "the quotas could not be read", "SELECT tablespace_name, TO_CHAR(max_bytes) FROM dba_ts_quotas WHERE username = :1 AND dropped = 'NO' ORDER BY tablespace_name", name)
}

// limit writes a quota. What is no number of the server's becomes none.
func limit(bytes string) string {
	if bytes == "-1" {
		return "UNLIMITED"
	}
	if bytes == "" || strings.Trim(bytes, "0123456789") != "" {
		return "0"
	}
	return bytes
}
