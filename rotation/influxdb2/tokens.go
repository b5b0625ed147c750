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
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/internal/mark"
)

// Tokens rotates API tokens. A token is made next to the current one, with the same permissions, user
// and organization. What a crash leaves is found by its description, which has the secret's mark.
type Tokens struct{ server }

// NewTokens returns the engine with the given policy for its connections.
func NewTokens(tls engine.TLSPolicy, settings awsapi.Settings) *Tokens {
	return &Tokens{server{tls, settings}}
}

// Kind describes the engine. The server makes the tokens, so there is no password policy.
func (*Tokens) Kind() engine.Kind {
	return engine.Kind{Names: names, Overlap: engine.BothWork, MarkField: tokenField, SecretFields: []string{tokenField, idField}, SuperuserField: adminField,
		PlaceFields: []string{"engine", instanceField, "org"}}
}

// permission is what a token may do, without the resources' names, which the server adds to its answers.
type permission struct {
	Action   string   `json:"action"`
	Resource resource `json:"resource"`
}

type resource struct {
	Type  string `json:"type"`
	ID    string `json:"id,omitempty"`
	OrgID string `json:"orgID,omitempty"`
}

// authorization is a token as the API has it.
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

// marked is a mark at the end of a description, after what people wrote.
var marked = lazyregexp.New(`rotator-[0-9a-f]{12}-\S+$`)

// mark returns the mark at the end of a token's description, or "".
func (a authorization) mark() string { return marked.FindString(a.Description) }

// is reports whether a token was made for the secret.
func (a authorization) is(secret string) bool {
	return strings.HasPrefix(a.mark(), mark.Prefix(secret))
}

// Next checks the value's form; the target knows the next one.
func (e *Tokens) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	_, err := parse(r.Current)
	return r.Current, err
}

// DryRun finds the token to copy.
func (e *Tokens) DryRun(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	_, err = model(r, all)
	return err
}

// Mint makes a token with the current one's description and the secret's mark. What earlier rotations
// left is revoked first, and a token that the list does not show as it was asked for is taken back.
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

// make makes a token and checks that the server has made what it was asked for.
func (x *session) make(ctx context.Context, made authorization) (authorization, error) {
	var answer authorization
	if err := x.call(ctx, "making a token", http.MethodPost, "authorizations", nil, made, &answer); err != nil {
		return answer, err
	}
	const advice = "check that the server is InfluxDB 2 and see its log"
	if answer.Token == "" || answer.ID == "" {
		return answer, engine.Errorf(engine.TargetFailed, advice, "the server has made a token and does not say which")
	}
	if !same(answer.Permissions, made.Permissions) || answer.UserID != made.UserID || answer.OrgID != made.OrgID {
		return answer, engine.Errorf(engine.TargetFailed, advice, "the new token does not have the user, the organization and the permissions of the current one")
	}
	all, err := x.authorizations(ctx)
	if err == nil && !slices.ContainsFunc(all, func(a authorization) bool { return a.ID == answer.ID && a.Description == made.Description }) {
		err = engine.Errorf(engine.TargetFailed, advice, "the server does not list the new token")
	}
	return answer, err
}

// takeBack revokes a token that was made in vain, or may have been. It knows the token by its mark.
func (x *session) takeBack(ctx context.Context, own string) error {
	all, err := x.authorizations(ctx)
	if err != nil {
		return err
	}
	return x.end(ctx, all, func(a authorization) bool { return a.mark() == own })
}

// model returns the authorization to copy: the current token's or, where somebody has deleted that or
// made it inactive, the one before, or the one that acts.
func model(r *engine.Request, all []authorization) (authorization, error) {
	candidates := []engine.Value{r.Current, r.Previous}
	if !r.Superuser {
		candidates = append(candidates, r.Login)
	}
	for _, v := range candidates {
		a, ok := find(all, r, v)
		if !ok || a.Status == "inactive" {
			continue
		}
		if org, _ := r.Current.Text("org"); org != "" && org != a.Org {
			return a, engine.Errorf(engine.InvalidSecret, "correct the field org, or make a token in that organization by hand", "the token is of the organization %q and the secret says %q", httpapi.Short(a.Org), org)
		}
		return a, nil
	}
	return authorization{}, unseen(r, len(all))
}

// unseen says what to do about a token that who acts cannot find.
func unseen(r *engine.Request, shown int) error {
	return engine.Errorf(engine.PrivilegeMissing, "name the secret of an operator in "+adminField+", or let the token read and write authorizations; "+
		"where the server keeps tokens as hashes, put the token's id into "+idField+" and end its description with "+mark.Prefix(r.Secret)+"first",
		"the token is not among the %d that are shown to who looks for it", shown)
}

// find returns the authorization of a value's token. InfluxDB 2.9 and later keeps hashes and shows no
// token, or the same text for each; there the value's id leads to it, but only to one that was made for
// this secret: whoever may write the secret could put any id into it, and have an operator copy it.
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

// same reports whether two lists, whose length a host has chosen, have the same permissions.
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

// list opens a session with who acts and returns the tokens that it is shown; there are no pages.
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

// Set makes sure that the pending token is there, and revokes every other one of this secret but the
// current: the one before, and those that crashes left.
func (e *Tokens) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current, r.Login)
}

// Retire revokes every token of this secret but the pending one.
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
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again", "the pending token does not exist at the server")
	}
	kept, known := ids(all, r, keep...), ids(all, r, r.Current, r.Previous)
	return x.end(ctx, all, func(a authorization) bool {
		return !slices.Contains(kept, a.ID) && (a.is(r.Secret) || slices.Contains(known, a.ID))
	})
}

// ids returns the ids of the values' tokens.
func ids(all []authorization, r *engine.Request, values ...engine.Value) (ids []string) {
	for _, v := range values {
		if a, ok := find(all, r, v); ok {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// end revokes some of the tokens. The list decides whether they have ended, and not the answers.
func (x *session) end(ctx context.Context, all []authorization, doomed func(authorization) bool) error {
	var ended []string
	for _, a := range all {
		if !doomed(a) {
			continue
		}
		if err := x.call(ctx, "revoking a token", http.MethodDelete, "authorizations/"+url.PathEscape(a.ID), nil, nil, nil); err != nil {
			return err
		}
		ended = append(ended, a.ID)
	}
	if ended == nil {
		return nil
	}
	left, err := x.authorizations(ctx)
	if err == nil && slices.ContainsFunc(left, func(a authorization) bool { return slices.Contains(ended, a.ID) }) {
		err = engine.Errorf(engine.TargetFailed, "check that the server is InfluxDB 2 and see its log", "the server still lists a token that was revoked")
	}
	return err
}

// Revoke revokes the token that Mint has made.
func (e *Tokens) Revoke(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	pending := ids(all, r, r.Pending)
	return x.end(ctx, all, func(a authorization) bool { return slices.Contains(pending, a.ID) })
}

// Verify asks the server whether it knows the token. One that makes its successor must find itself.
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

// Needs says what finding the instance needs.
func (e *Tokens) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	return e.needs(r, n, "none by a statement: who acts may read and write authorizations and has all that the token has; an operator has")
}
