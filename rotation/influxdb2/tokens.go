package influxdb2

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/boundconn"
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
		PlaceFields: []string{"engine", instanceField, "org"}}
}

// permission is one right of a token, without the names of resources that the server adds to its responses.
type permission struct {
	Action   string   `json:"action"`
	Resource resource `json:"resource"`
}

type resource struct {
	Type  string `json:"type"`
	ID    string `json:"id,omitempty"`
	OrgID string `json:"orgID,omitempty"`
}

// authorization is a token in the API's format.
// Source: https://docs.influxdata.com/influxdb/v2/api/#tag/Authorizations-(API-tokens)
type authorization struct {
	ID          string       `json:"id,omitempty"`
	Token       string       `json:"token,omitempty"`
	Status      string       `json:"status"`
	Description string       `json:"description"`
	Org         string       `json:"org,omitempty"`
	OrgID       string       `json:"orgID"`
	UserID      string       `json:"userID"`
	Permissions []permission `json:"permissions"`
}

// marked matches a mark at the end of a description, after any text that people wrote.
var marked = lazyregexp.New(`rotator-[0-9a-f]{12}-\S+$`)

func (a authorization) mark() string { return marked.FindString(a.Description) }

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
	defer x.close()
	_, err = model(r, all)
	return err
}

// Mint creates a token with the current one's description and the secret's mark. It first revokes leftovers of earlier
// rotations, and it revokes the new token unless the list shows it as requested.
func (e *Tokens) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return engine.Value{}, err
	}
	defer x.close()
	model, err := model(r, all)
	if err != nil {
		return engine.Value{}, err
	}
	kept := ids(all, r, slices.Concat(r.Proofs, []engine.Value{r.Current, r.Previous, r.Login})...)
	if err := x.end(ctx, all, func(a authorization) bool {
		return mark.Abandoned(a.mark(), r.Secret, r.Version) && !slices.Contains(kept, a.ID)
	}); err != nil {
		return engine.Value{}, err
	}
	within, cancel := mark.LeaveTime(ctx)
	defer cancel()
	own := mark.New(r.Secret, r.Version)
	people := strings.TrimSpace(strings.TrimSuffix(model.Description, model.mark()))
	answer, err := x.make(within, authorization{Status: "active", Description: strings.TrimSpace(people + " " + own),
		OrgID: model.OrgID, UserID: model.UserID, Permissions: model.Permissions})
	if err != nil {
		return engine.Value{}, mark.Lost(own, err, x.takeBack(ctx, own))
	}
	return r.Current.With(tokenField, answer.Token).With(idField, answer.ID), nil
}

// make creates a token and checks that it matches the request.
func (x *session) make(ctx context.Context, made authorization) (authorization, error) {
	var answer authorization
	if err := x.call(ctx, "creating a token", http.MethodPost, "authorizations", nil, made, &answer); err != nil {
		return answer, err
	}
	if answer.Token == "" || answer.ID == "" {
		return answer, engine.Errorf(engine.TargetFailed, adviceServer, "the server did not return the new token")
	}
	if !same(answer.Permissions, made.Permissions) || answer.UserID != made.UserID || answer.OrgID != made.OrgID {
		return answer, engine.Errorf(engine.TargetFailed, adviceServer,
			"the new token differs from the current one in user, organization or permissions")
	}
	all, err := x.authorizations(ctx)
	listed := func(a authorization) bool { return a.ID == answer.ID && a.Description == made.Description }
	if err == nil && !slices.ContainsFunc(all, listed) {
		err = engine.Errorf(engine.TargetFailed, adviceServer, "the server does not list the new token")
	}
	return answer, err
}

// takeBack revokes the token that a failed Mint may have created. It finds the token by its mark.
func (x *session) takeBack(ctx context.Context, own string) error {
	all, err := x.authorizations(ctx)
	if err != nil {
		return err
	}
	return x.end(ctx, all, func(a authorization) bool { return a.mark() == own })
}

// model returns the authorization to copy: the first active one of the current, previous and acting tokens. A superuser
// copies only a token that was created for this secret or that the server has accepted.
func model(r *engine.Request, all []authorization) (authorization, error) {
	candidates := []engine.Value{r.Current, r.Previous}
	if !r.Superuser {
		candidates = append(candidates, r.Login)
	}
	for _, v := range candidates {
		a, ok := find(all, r, v)
		proved := !r.Superuser || a.is(r.Secret) || slices.ContainsFunc(r.Proofs, v.Equal)
		if !ok || !proved || a.Status == "inactive" {
			continue
		}
		if org, _ := r.Current.Text("org"); org != "" && org != a.Org {
			return a, engine.Errorf(engine.InvalidSecret, "correct org, or create a token in that org by hand",
				"the token belongs to the organization %q, but the secret names %q", boundconn.Short(a.Org), org)
		}
		return a, nil
	}
	return authorization{}, unseen(r, len(all))
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

// same reports whether two lists have the same permissions, in linear time because a host chooses their length.
func same(a, b []permission) bool {
	set := func(list []permission) map[permission]bool {
		out := map[permission]bool{}
		for _, p := range list {
			out[p] = true
		}
		return out
	}
	return maps.Equal(set(a), set(b))
}

// list opens the session that makes the change, and returns all tokens that it can see. The API has no pages.
func (e *Tokens) list(ctx context.Context, r *engine.Request) (*session, []authorization, error) {
	x, err := e.openLogin(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	all, err := x.authorizations(ctx)
	if err != nil {
		x.close()
		return nil, nil, err
	}
	return x, all, nil
}

func (x *session) authorizations(ctx context.Context) ([]authorization, error) {
	var list struct{ Authorizations []authorization }
	err := x.call(ctx, "listing tokens", http.MethodGet, "authorizations", nil, nil, &list)
	return list.Authorizations, err
}

// Set checks that the pending token exists. It revokes the secret's other tokens, except the current and acting ones.
func (e *Tokens) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current, r.Login)
}

// Retire revokes every token of this secret except the pending one.
func (e *Tokens) Retire(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending)
}

func (e *Tokens) revokeBut(ctx context.Context, r *engine.Request, keep ...engine.Value) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	if _, ok := find(all, r, r.Pending); !ok {
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again",
			"the pending token does not exist at the server")
	}
	kept, known := ids(all, r, keep...), ids(all, r, r.Current, r.Previous)
	return x.end(ctx, all, func(a authorization) bool {
		return !slices.Contains(kept, a.ID) && (a.is(r.Secret) || slices.Contains(known, a.ID))
	})
}

func ids(all []authorization, r *engine.Request, values ...engine.Value) (ids []string) {
	for _, v := range values {
		if a, ok := find(all, r, v); ok {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// end revokes the doomed tokens and checks that the list no longer shows them. The responses prove nothing.
func (x *session) end(ctx context.Context, all []authorization, doomed func(authorization) bool) error {
	var ended []string
	for _, a := range all {
		if !doomed(a) {
			continue
		}
		if err := x.call(ctx, "revoking a token", http.MethodDelete, "authorizations/"+url.PathEscape(a.ID),
			nil, nil, nil); err != nil {
			return err
		}
		ended = append(ended, a.ID)
	}
	if ended == nil {
		return nil
	}
	left, err := x.authorizations(ctx)
	if err == nil && slices.ContainsFunc(left, func(a authorization) bool { return slices.Contains(ended, a.ID) }) {
		err = engine.Errorf(engine.TargetFailed, adviceServer, "the server still lists a revoked token")
	}
	return err
}

// Revoke revokes the token that Mint created.
func (e *Tokens) Revoke(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	pending := ids(all, r, r.Pending)
	return x.end(ctx, all, func(a authorization) bool { return slices.Contains(pending, a.ID) })
}

// Verify checks that the server knows the token. A token that creates its successor must also find itself in the list.
func (e *Tokens) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.open(ctx, r, v)
	if err != nil {
		return err
	}
	defer x.close()
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
