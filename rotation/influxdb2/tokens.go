package influxdb2

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/mark"
)

// Tokens rotates API tokens. A new token has the permissions, user and organization of the current one, and both work.
// The secret's mark in a token's description identifies tokens that a crash left behind.
type Tokens struct{ server }

// NewTokens returns the engine with the given policy for its connections.
func NewTokens(tls engine.TLSPolicy, settings awsapi.Settings) *Tokens {
	return &Tokens{server{tls, settings}}
}

// Kind describes the engine. The server generates the tokens, so there is no password policy.
func (*Tokens) Kind() engine.Kind {
	return engine.Kind{Names: names, Overlap: engine.BothWork, MarkField: tokenField,
		SecretFields: []string{tokenField, idField}, SuperuserField: adminField,
		PlaceFields: []string{"engine", instanceField}}
}

// authorization is a token in the API's format.
// Source: https://docs.influxdata.com/influxdb/v2/api/#tag/Authorizations-(API-tokens)
type authorization struct {
	ID          string          `json:"id,omitempty"`
	Token       string          `json:"token,omitempty"`
	Status      string          `json:"status"`
	Description string          `json:"description"`
	OrgID       string          `json:"orgID"`
	UserID      string          `json:"userID"`
	Permissions json.RawMessage `json:"permissions"`
}

// marked matches a mark at the end of a description, after any text that people wrote.
var marked = lazyregexp.New(`rotator-[0-9a-f]{12}-\S+$`)

func (a authorization) mark() string { return marked().FindString(a.Description) }

func (a authorization) is(secret string) bool {
	return strings.HasPrefix(a.mark(), mark.Prefix(secret))
}

// Next checks the value's format. The server generates the next token.
func (e *Tokens) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	_, err := parse(r.Current)
	return r.Current, err
}

// DryRun looks up the token's permissions, as a rotation does.
func (e *Tokens) DryRun(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.api.Close()
	_, err = model(r, all)
	return err
}

// Mint creates a token with the current one's description and the secret's mark. Set revokes what a failure or a crash
// leaves behind.
func (e *Tokens) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return engine.Value{}, err
	}
	defer x.api.Close()
	model, err := model(r, all)
	if err != nil {
		return engine.Value{}, err
	}
	people := strings.TrimSpace(strings.TrimSuffix(model.Description, model.mark()))
	made := authorization{Status: "active", OrgID: model.OrgID, UserID: model.UserID, Permissions: model.Permissions,
		Description: strings.TrimSpace(people + " " + mark.New(r.Secret, r.Version))}
	var answer authorization
	err = x.call(ctx, "creating a token", http.MethodPost, "authorizations", made, &answer)
	if err == nil && (answer.Token == "" || answer.ID == "") {
		err = engine.Errorf(engine.TargetFailed, adviceServer, "the server did not return the new token")
	}
	return r.Current.With(tokenField, answer.Token).With(idField, answer.ID), err
}

// model returns the authorization to copy. A superuser copies only a token of the secret that the server has accepted:
// a writer of the secret could name any other. In a recovery, r.Proofs has the superuser's own token instead.
func model(r *engine.Request, all []authorization) (authorization, error) {
	accepted := r.Login
	if r.Superuser {
		i := slices.IndexFunc(r.Proofs, func(p engine.Value) bool { return p.EqualBut(r.Current, tokenField, idField) })
		if i < 0 {
			return authorization{}, engine.Errorf(engine.InvalidSecret,
				"create a token by hand and store it in AWSCURRENT",
				"the server accepts no token of the secret, so nothing shows which token to copy")
		}
		accepted = r.Proofs[i]
	}
	a, ok := find(all, r, accepted)
	if !ok || a.Status == "inactive" {
		return a, unseen(r, len(all))
	}
	return a, nil
}

func unseen(r *engine.Request, shown int) error {
	return engine.Errorf(engine.PrivilegeMissing, "name the secret of an operator in "+adminField+
		", or let the token read and write authorizations; if the server stores hashes, set "+idField+
		" to the token's id and end its description with "+mark.Prefix(r.Secret)+"first",
		"nothing shows that the token is among the %d that the server lists for this login", shown)
}

// find returns the authorization of a value's token. InfluxDB 2.9 and later stores hashes, and lists no token text or
// the same text for all. The value's id then identifies the token, but only if it has this secret's mark: a writer
// could store any id to make an operator copy that token.
func find(all []authorization, r *engine.Request, v engine.Value) (authorization, bool) {
	token, _ := v.Text(tokenField)
	id, _ := v.Text(idField)
	if token == "" {
		return authorization{}, false
	}
	for _, is := range []func(a authorization) bool{
		func(a authorization) bool { return a.Token == token },
		func(a authorization) bool { return a.ID == id && a.is(r.Secret) },
	} {
		i := slices.IndexFunc(all, is)
		if i >= 0 && !slices.ContainsFunc(all[i+1:], is) {
			return all[i], true
		}
	}
	return authorization{}, false
}

// list opens the session that makes the change, and returns all tokens that it can see. The API has no pages.
func (e *Tokens) list(ctx context.Context, r *engine.Request) (*session, []authorization, error) {
	x, err := e.openLogin(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	all, err := x.authorizations(ctx)
	if err != nil {
		x.api.Close()
		return nil, nil, err
	}
	return x, all, nil
}

func (x *session) authorizations(ctx context.Context) ([]authorization, error) {
	var list struct{ Authorizations []authorization }
	err := x.call(ctx, "listing tokens", http.MethodGet, "authorizations", nil, &list)
	return list.Authorizations, err
}

// Set checks that the pending token exists. It revokes the secret's other tokens, except the current and acting ones.
func (e *Tokens) Set(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.api.Close()
	if _, ok := find(all, r, r.Pending); !ok {
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again",
			"the pending token does not exist at the server")
	}
	kept, previous := ids(all, r, r.Pending, r.Current, r.Login), ids(all, r, r.Previous)
	for _, a := range all {
		if slices.Contains(kept, a.ID) || !a.is(r.Secret) && !slices.Contains(previous, a.ID) {
			continue
		}
		if err := x.revoke(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

func ids(all []authorization, r *engine.Request, values ...engine.Value) (ids []string) {
	for _, v := range values {
		if a, ok := find(all, r, v); ok {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

func (x *session) revoke(ctx context.Context, a authorization) error {
	return x.call(ctx, "revoking a token", http.MethodDelete, "authorizations/"+url.PathEscape(a.ID), nil, nil)
}

// Revoke revokes the token that Mint created.
func (e *Tokens) Revoke(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.api.Close()
	a, ok := find(all, r, r.Pending)
	if !ok {
		return nil
	}
	return x.revoke(ctx, a)
}

// Verify checks that the server knows the token. A token that creates its successor must also find itself in the list.
func (e *Tokens) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.open(ctx, r, v)
	if err != nil {
		return err
	}
	defer x.api.Close()
	if r.SuperuserChanges {
		return nil
	}
	all, err := x.authorizations(ctx)
	if err != nil {
		return err
	}
	if _, ok := find(all, r, v); !ok {
		return unseen(r, len(all))
	}
	return nil
}

// Needs reports what a rotation needs at the target.
func (e *Tokens) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	return e.needs(r, n, "none by a statement: the login must have all of the token's permissions, and read and write "+
		"authorizations; an operator has all")
}
