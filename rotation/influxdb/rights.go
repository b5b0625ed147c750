package influxdb

import (
	"context"
	"slices"
)

// grants reads a user's privileges by database.
func (s *session) grants(ctx context.Context, user string) (map[string]string, error) {
	const what = "reading a user's grants"
	rows, err := s.query(ctx, what, "SHOW GRANTS FOR "+identifier(user))
	if err != nil {
		return nil, err
	}
	grants := map[string]string{}
	for _, row := range rows {
		database, ok := at[string](row, 0)
		switch privilege, _ := at[string](row, 1); {
		case ok && slices.Contains([]string{"READ", "WRITE", "ALL PRIVILEGES"}, privilege):
			grants[database] = privilege
		case !ok || privilege != "NO PRIVILEGES": // the list keeps a revoked grant by this name
			return nil, unexpected(what)
		}
	}
	return grants, nil
}
