package rabbitmq

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"example.com/rotator/rotation/engine"
)

// rights are what a user may do, beside what its tags allow.
// Source: https://www.rabbitmq.com/docs/access-control, https://www.rabbitmq.com/docs/user-limits
type rights struct {
	hosts  map[string]permission
	topics map[string]map[string]topic // by virtual host and exchange
	limits map[string]int64
}

// permission is what a user may do in a virtual host.
type permission struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// topic is which routing keys a user may use at a topic exchange.
type topic struct {
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// anyTopic is the same as no topic permission: the server then allows every routing key.
func anyTopic(exchange string) topic { return topic{exchange, ".*", ".*"} }

// rights reads a user's.
func (s *session) rights(ctx context.Context, name string) (rights, error) {
	r := rights{hosts: map[string]permission{}, topics: map[string]map[string]topic{}, limits: map[string]int64{}}
	var hosts []struct {
		Host string `json:"vhost"`
		permission
	}
	if _, err := s.get(ctx, "reading permissions", path("users", name, "permissions"), &hosts); err != nil {
		return r, err
	}
	for _, h := range hosts {
		r.hosts[h.Host] = h.permission
	}
	var topics []struct {
		Host string `json:"vhost"`
		topic
	}
	if _, err := s.get(ctx, "reading topic permissions", path("users", name, "topic-permissions"), &topics); err != nil {
		return r, err
	}
	for _, t := range topics {
		if t.topic == anyTopic(t.Exchange) {
			continue
		}
		if r.topics[t.Host] == nil {
			r.topics[t.Host] = map[string]topic{}
		}
		r.topics[t.Host][t.Exchange] = t.topic
	}
	var limits []struct {
		Value map[string]int64 `json:"value"`
	}
	if _, err := s.get(ctx, "reading a user's limits", path("user-limits", name), &limits); err != nil {
		return r, err
	}
	for _, l := range limits {
		maps.Copy(r.limits, l.Value)
	}
	return r, nil
}

// change sends a change of a right and reports it.
func (t target) change(ctx context.Context, what, method, path string, body any) error {
	err := t.send(ctx, what, method, path, body)
	if err == nil {
		t.request.Changed(fmt.Sprintf("%s: %s %s %+v", what, method, path, body))
	}
	return err
}

// level makes what a user has to what it shall have, and looks whether that came
// about.
func (t target) level(ctx context.Context, name string, have, want rights) error {
	for host := range have.hosts {
		if _, ok := want.hosts[host]; !ok {
			if err := t.change(ctx, "taking a permission", http.MethodDelete, path("permissions", host, name), nil); err != nil {
				return err
			}
		}
	}
	// A topic permission restricts what the virtual host's allows, and its absence restricts
	// nothing. So none is absent before the permissions are those that are wanted.
	for host, topics := range want.topics {
		for exchange, topic := range topics {
			if topic != have.topics[host][exchange] {
				if err := t.change(ctx, "giving a topic permission", http.MethodPut, path("topic-permissions", host, name), topic); err != nil {
					return err
				}
			}
		}
	}
	for host, p := range want.hosts {
		if q, ok := have.hosts[host]; !ok || p != q {
			if err := t.change(ctx, "giving a permission", http.MethodPut, path("permissions", host, name), p); err != nil {
				return err
			}
		}
	}
	for host, topics := range have.topics {
		if len(want.topics[host]) == 0 {
			if err := t.change(ctx, "taking topic permissions", http.MethodDelete, path("topic-permissions", host, name), nil); err != nil {
				return err
			}
			continue
		}
		for exchange := range topics { // the API takes only all of a host's
			if !has(want.topics[host], exchange) {
				if err := t.change(ctx, "allowing all topics", http.MethodPut, path("topic-permissions", host, name), anyTopic(exchange)); err != nil {
					return err
				}
			}
		}
	}
	for limit := range have.limits {
		if _, ok := want.limits[limit]; !ok {
			if err := t.change(ctx, "lifting a limit", http.MethodDelete, path("user-limits", name, limit), nil); err != nil {
				return err
			}
		}
	}
	for limit, n := range want.limits {
		if m, ok := have.limits[limit]; !ok || n != m {
			if err := t.change(ctx, "setting a limit", http.MethodPut, path("user-limits", name, limit), map[string]int64{"value": n}); err != nil {
				return err
			}
		}
	}
	now, err := t.rights(ctx, name)
	if err != nil || now.equal(want) {
		return err
	}
	return engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step; if that fails, compare the two users", "the rights of %q are not those of the current user: %v", name, now.differ(want))
}

func (r rights) equal(other rights) bool { return len(r.differ(other)) == 0 }

// differ names the virtual hosts and limits in which the two differ.
func (r rights) differ(other rights) []string {
	var out []string
	note := func(what string, differs bool) {
		if differs && !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	for _, x := range []rights{r, other} {
		for host := range x.hosts {
			note("virtual host "+host, r.hosts[host] != other.hosts[host] || !has(r.hosts, host) || !has(other.hosts, host))
		}
		for host := range x.topics {
			note("topics of virtual host "+host, !maps.Equal(r.topics[host], other.topics[host]))
		}
		for limit := range x.limits {
			note(limit, r.limits[limit] != other.limits[limit] || !has(r.limits, limit) || !has(other.limits, limit))
		}
	}
	slices.Sort(out)
	return out
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }
