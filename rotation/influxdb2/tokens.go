package influxdb2

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Tokens rotates API tokens. A token is made beside the current one, with the same
// permissions, user and organisation. Its description tells which secret and which
// version it was made for: whatever a crash leaves behind is found by it.
type Tokens struct{ server }

var (
	_ engine.Minter  = (*Tokens)(nil)
	_ engine.Retirer = (*Tokens)(nil)
	_ engine.Needer  = (*Tokens)(nil)
)

// NewTokens returns the engine with the given policy for its connections.
func NewTokens(tls engine.TLSPolicy, settings Settings) *Tokens {
	return &Tokens{server{tls, settings}}
}

// Kind describes the engine. The server makes the tokens, so there is no password
// policy.
func (*Tokens) Kind() engine.Kind {
	return engine.Kind{Names: names, Overlap: engine.BothWork, MarkField: tokenField, SecretFields: []string{tokenField, idField}, SuperuserField: adminField,
		PlaceFields: []string{"engine", instanceField, "org"}}
}

// permission is what a token may do. Names of resources are not kept: the server
// adds them to its answers.
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

// mark is how the end of a description tells a secret's tokens.
func mark(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "rotator-" + hex.EncodeToString(sum[:6]) + "-"
}

// marked is a description with a mark: what people wrote, and the mark.
var marked = regexp.MustCompile(`^(?s:(.*?)) ?(rotator-[0-9a-f]{12}-)\S+$`)

// is reports whether a token was made for the secret.
func (a authorization) is(secret string) bool {
	m := marked.FindStringSubmatch(a.Description)
	return m != nil && m[2] == mark(secret)
}

// Next checks the value's form; the target knows the next one.
func (e *Tokens) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	_, err := parse(r.Current)
	return r.Current, err
}

// Mint makes a token. Its description is what the current one's says, and the
// secret's mark with the version and a text of its own: what an earlier call left
// behind, or another one at the same time has made, stays until Set, when it is
// known which of them was stored.
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
	description := model.Description
	if m := marked.FindStringSubmatch(description); m != nil {
		description = m[1]
	}
	var own [4]byte
	_, _ = rand.Read(own[:]) // never fails, says crypto/rand
	made := authorization{Status: "active", Description: strings.TrimSpace(description + " " + mark(r.Secret) + r.Version + "-" + hex.EncodeToString(own[:])),
		OrgID: model.OrgID, UserID: model.UserID, Permissions: model.Permissions}
	var answer authorization
	if err := x.call(ctx, "making a token", http.MethodPost, "authorizations", nil, made, &answer); err != nil {
		return engine.Value{}, err
	}
	// Were it wrong, it would be found by its description at the next Set.
	const advice = "see the server's log; the token that was made is revoked by the next rotation"
	if answer.Token == "" || answer.ID == "" {
		return engine.Value{}, engine.Errorf(engine.TargetFailed, advice, "the server has made a token and does not say which")
	}
	if !same(answer.Permissions, model.Permissions) || answer.UserID != model.UserID || answer.OrgID != model.OrgID {
		return engine.Value{}, engine.Errorf(engine.TargetFailed, advice, "the new token has not the user, the organisation and the permissions of the current one")
	}
	return r.Current.With(tokenField, answer.Token).With(idField, answer.ID), nil
}

// model returns the authorization to copy: the current token's. Where somebody has
// deleted that, it is the one before, or the one who acts.
func model(r *engine.Request, all []authorization) (authorization, error) {
	candidates := []engine.Value{r.Current, r.Previous}
	if !r.Superuser {
		candidates = append(candidates, r.Login)
	}
	for _, v := range candidates {
		a, ok := find(all, r, v)
		if !ok {
			continue
		}
		if org, _ := r.Current.Text("org"); org != "" && org != a.Org {
			return a, engine.Errorf(engine.InvalidSecret, "correct the field org, or make a token in that organisation by hand", "the token is of the organisation %q and the secret says %q", a.Org, org)
		}
		return a, nil
	}
	return authorization{}, unseen(r, len(all))
}

// unseen says what to do about a token that who acts cannot find.
func unseen(r *engine.Request, shown int) error {
	return engine.Errorf(engine.PrivilegeMissing, "name the secret of an operator in "+adminField+", or let the token read and write authorizations; "+
		"where the server keeps tokens as hashes, put the token's id into "+idField+" and end its description with "+mark(r.Secret)+"first",
		"the token is not among the %d that are shown to who looks for it", shown)
}

// find returns the authorization of a value's token. InfluxDB 2.9 and later keeps
// hashes and shows no token; there the value's id leads to it, but only to one that was
// made for this secret: whoever may write the secret could put any id into it, and have
// an operator copy what that one may.
func find(all []authorization, r *engine.Request, v engine.Value) (authorization, bool) {
	token, _ := v.Text(tokenField)
	id, _ := v.Text(idField)
	i := slices.IndexFunc(all, func(a authorization) bool { return token != "" && a.Token == token })
	if i < 0 && token != "" {
		i = slices.IndexFunc(all, func(a authorization) bool { return a.ID == id && a.is(r.Secret) })
	}
	if i < 0 {
		return authorization{}, false
	}
	return all[i], true
}

// same reports whether two lists have the same permissions.
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

// list opens a session with who acts and returns the tokens that it is shown. The
// server has no pages here.
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

// Set makes sure that the pending token is there, and revokes every other one of
// this secret but the current: the one before, and those that crashes left behind.
func (e *Tokens) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current)
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
	ids := func(values ...engine.Value) (ids []string) {
		for _, v := range values {
			if a, ok := find(all, r, v); ok {
				ids = append(ids, a.ID)
			}
		}
		return ids
	}
	kept, known := ids(keep...), ids(r.Current, r.Previous)
	var doomed []string
	for _, a := range all {
		if !slices.Contains(kept, a.ID) && (a.is(r.Secret) || slices.Contains(known, a.ID)) {
			doomed = append(doomed, a.ID)
		}
	}
	// The one who acts goes last: without it the others could not be revoked.
	acting, _ := find(all, r, r.Login)
	if i := slices.Index(doomed, acting.ID); i >= 0 {
		doomed = append(slices.Delete(doomed, i, i+1), acting.ID)
	}
	for _, id := range doomed {
		if err := x.revoke(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// revoke deletes a token that may be gone already.
func (x *session) revoke(ctx context.Context, id string) error {
	return x.call(ctx, "revoking a token", http.MethodDelete, "authorizations/"+url.PathEscape(id), nil, nil, nil)
}

// Revoke revokes the token that Next has made.
func (e *Tokens) Revoke(ctx context.Context, r *engine.Request) error {
	x, all, err := e.list(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	a, ok := find(all, r, r.Pending)
	if !ok {
		return nil
	}
	return x.revoke(ctx, a.ID)
}

// Verify asks the server whether it knows the token. A token that makes its successor
// must find itself among the tokens.
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
