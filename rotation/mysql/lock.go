package mysql

import (
	"context"
	"database/sql"

	"example.com/rotator/rotation/engine"
)

// lock keeps other calls for the same secret out until the session ends. Without
// it, a call that was overtaken could throw away the password of a second user
// that another call has created meanwhile. Anyone can take a lock whose name it
// knows: the server derives the name from the verifier of the superuser, which
// only administrators can read, so that the name is not in the statement either.
func (s *session) lock(ctx context.Context, secret string) error {
	var got sql.NullInt64
	if err := s.conn.QueryRowContext(ctx, "SELECT GET_LOCK(CONCAT('rotator_', LEFT(SHA2(CONCAT(COALESCE(authentication_string, ''), "+text("\n"+secret)+"), 256), 32)), 10) FROM mysql.user"+
		" WHERE User = "+text(s.self.user)+" AND Host = "+text(s.self.host)).Scan(&got); err != nil {
		return s.failure("no lock", err)
	}
	if got.Int64 != 1 {
		return engine.Errorf(engine.TargetFailed, "Secrets Manager tries again", "another rotation of this secret is still at work")
	}
	return nil
}

// locked reports whether a statement has waited for a lock in vain.
func locked(err error) bool { return code(err) == 1205 || code(err) == 1969 }
