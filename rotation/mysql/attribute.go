package mysql

import (
	"cmp"
	"context"
	"encoding/json"

	"example.com/rotator/rotation/engine"
)

func (m *mysqld) attributes(ctx context.Context, a, like account) error {
	if a.roles != like.roles {
		if err := m.alter(ctx, "ALTER USER "+a.name()+" DEFAULT ROLE "+cmp.Or(like.roles, "NONE")); err != nil {
			return err
		}
	}
	if a.comment == like.comment {
		return nil
	}
	// The server merges an ATTRIBUTE into what is there, so that goes first.
	old := map[string]any{}
	if a.comment != "" {
		if err := json.Unmarshal([]byte(a.comment), &old); err != nil {
			return engine.Errorf(engine.TargetFailed, "give both users the same ATTRIBUTE by hand", "the attribute of %s is not a JSON object", a.name())
		}
	}
	for k := range old {
		old[k] = nil
	}
	nulls, err := json.Marshal(old)
	for _, attribute := range []string{string(nulls), cmp.Or(like.comment, "{}")} {
		if err == nil {
			err = m.alter(ctx, "ALTER USER "+a.name()+" ATTRIBUTE", " "+text(attribute))
		}
	}
	return err
}
