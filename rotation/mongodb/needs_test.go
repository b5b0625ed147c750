package mongodb

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestNeedsSatisfyTheEngine: the printed role has every privilege that the engine checks, and the engine reports each
// one that is missing. FerretDB has no roles, so no server checks the rest here.
func TestNeedsSatisfyTheEngine(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	app := f.user("shop")
	self := f.bySuperuser("shop", app, "first-"+app, "next")
	self.Superuser, self.SuperuserChanges, self.Login = false, false, self.Current
	for name, c := range map[string]struct {
		request *engine.Request
		actions []string // on the user's database
		asked   []string // those of them that the engine checks
		all     []string // on all databases
	}{
		"itself": {self, []string{"changeOwnPassword"}, []string{"changeOwnPassword"}, nil},
		"superuser": {f.bySuperuser("shop", app, "first-"+app, "next"), []string{"viewUser", "changePassword"},
			[]string{"changePassword"}, nil},
		"alternating": {f.toOther("shop", app, app+"_clone"), []string{"viewUser", "createUser", "changePassword",
			"changeCustomData"}, []string{"createUser", "changePassword"}, []string{"revokeRole"}},
	} {
		t.Run(name, func(t *testing.T) {
			var n engine.Needs
			if err := f.engine.Needs(enginetest.Within(t), c.request, &n); err != nil {
				t.Fatal(err)
			}
			login, _ := f.engine.Parse(c.request.Login)
			if len(n.Grants) != 2 || !strings.HasSuffix(n.Grants[1],
				`.grantRolesToUser("`+login.User+`", [{"role":"rotator-`+login.User+`","db":"admin"}]);`) {
				t.Fatalf("%q", n.Grants)
			}
			text := strings.TrimSuffix(strings.TrimPrefix(n.Grants[0], `db.getSiblingDB("admin").createRole(`), ");")
			var role struct {
				Privileges []struct {
					Resource map[string]string
					Actions  []string
				}
			}
			if err := json.Unmarshal([]byte(text), &role); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			on := map[string][]string{}
			for _, p := range role.Privileges {
				on[p.Resource["db"]] = p.Actions
			}
			if !slices.Equal(on["shop"], c.actions) || !slices.Equal(on[""], c.all) {
				t.Errorf("%s", text)
			}
			for _, missing := range append([]string{""}, c.asked...) {
				var doc struct {
					Privileges []privilege `bson:"privileges"`
				}
				if err := bson.UnmarshalExtJSON([]byte(text), false, &doc); err != nil {
					t.Fatal(err)
				}
				for i := range doc.Privileges {
					doc.Privileges[i].Actions = slices.DeleteFunc(doc.Privileges[i].Actions,
						func(a string) bool { return a == missing })
				}
				s := &session{target: login, rights: doc.Privileges}
				err := s.needs("shop", c.asked...)
				if !c.request.Superuser {
					err = s.itself()
				}
				if (missing == "") != (err == nil) || err != nil && !errors.Is(err, engine.PrivilegeMissing) {
					t.Errorf("without %q: %v", missing, err)
				}
			}
		})
	}
	n := engine.Needs{}
	if err := f.engine.Needs(t.Context(), &engine.Request{Current: engine.StringValue(`{"engine":"documentdb"}`)},
		&n); err != nil || n.Grants != nil || !strings.Contains(n.Note, "not tested") {
		t.Errorf("DocumentDB: %v, %+v", err, n)
	}
}

// A superuser that may not grant one of the user's roles is refused before the value is stored.
func TestRehearsalAsksForEachRole(t *testing.T) {
	on := func(database string, actions ...string) (p privilege) {
		all := ""
		p.Resource.Database, p.Resource.Collection, p.Actions = &database, &all, actions
		return p
	}
	rights := []privilege{on("shop", "createUser", "changePassword", "grantRole")}
	current := &user{Name: "app", Roles: []role{{"readWrite", "shop"}, {"read", "stock"}}}
	for _, more := range [][]privilege{nil, {on("stock", "grantRole")}} {
		s := &session{target: engine.Target{User: "admin"}, rights: append(rights, more...)}
		err := target{session: s, pending: engine.Target{Database: "shop"}}.Rehearse(t.Context(), current, nil)
		if more != nil && err != nil {
			t.Error(err)
		} else if more == nil {
			enginetest.WantCause(t, err, engine.PrivilegeMissing, `the action grantRole on the database "stock"`)
		}
	}
	// Only an existing second user without the mark needs more.
	x := target{session: &session{rights: append(rights, on("stock", "grantRole"))}, pending: engine.Target{Database: "shop"}}
	other := &user{Name: "app" + cloneSuffix}
	enginetest.WantCause(t, x.Rehearse(t.Context(), current, other), engine.PrivilegeMissing, "changeCustomData")
	other.Data = bson.D{{Key: markField, Value: mark("app")}}
	if err := x.Rehearse(t.Context(), current, other); err != nil {
		t.Error(err)
	}
}
