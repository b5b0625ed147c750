package sim

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageCSS template.CSS
	//go:embed page.js
	pageJS template.JS
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock":  func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"minute": func(t time.Time) string { return t.UTC().Format("01-02 15:04") },
	"short":  func(id string) string { return id[:min(8, len(id))] },
	"lower":  strings.ToLower,
	"css":    func() template.CSS { return pageCSS },
	"js":     func() template.JS { return pageJS },
}).Parse(pageText))

// pagePolicy lets the page run only its own script.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageJS))
	return "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'; script-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

const (
	// maxShown is the maximum number of secrets in the overview. Those that need attention come first.
	maxShown = 2000
	// maxFailures is the maximum number of failures in the overview, to keep the page small.
	maxFailures = 30
)

// pageData is what the page shows. It never contains values.
type pageData struct {
	Host, Region, Faults string
	Now                  time.Time
	Stats                Stats
	// Groups are the overview; groups that need attention come first.
	Groups []*pageGroup
	More   int // how many secrets are not listed
	// Detail is the secret to show, if there is one. Missing means that it does not exist.
	Detail  *pageDetail
	Missing bool
}

// pageGroup holds the secrets in one state.
type pageGroup struct {
	ID, Title string
	Count     int
	Rows      []pageRow
}

// pageRow is a secret in the overview.
type pageRow struct {
	Key, Name  string
	Place      string // its region and account, unless both are the defaults
	Late       bool
	Again      bool      // it failed, and its rotation continues
	Failure    *Progress // what went wrong in the last attempt of a rotation
	Last, Next time.Time
}

type pageDetail struct {
	pageRow
	State, ARN, Description string
	Function, Schedule      string
	Deleted                 time.Time
	Replicas                []replica
	Versions                []pageVersion
	Timeline                []Progress // newest first
}

type pageVersion struct {
	ID      string
	Created time.Time
	Empty   bool
	Labels  []string
}

// page shows all secrets, or the versions, the labels and the timeline of one.
func (s *Sim) page(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, s.pageData(r)); err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(text.Bytes()) // the client may be gone
		return
	}
	h.Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = z.Write(text.Bytes())
	_ = z.Close()
}

// serveHistory answers with a secret's history, the oldest first.
func (s *Sim) serveHistory(w http.ResponseWriter, r *http.Request) {
	history, err := s.History(r.PathValue("secret"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(history) // fails only if the client is gone
}

// pageData collects the data under the lock, to render it without the lock.
func (s *Sim) pageData(r *http.Request) *pageData {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	d := &pageData{Host: r.Host, Region: s.opts.Region, Faults: s.opts.Faults.String(), Now: now, Stats: s.stats}
	key := r.PathValue("key")
	d.Missing = key != ""
	groups := []*pageGroup{
		{ID: "failing", Title: "Failing"}, {ID: "late", Title: "Late"}, {ID: "running", Title: "Running"},
		{ID: "healthy", Title: "Healthy"}, {ID: "unrotated", Title: "Not rotated"},
		{ID: "deleted", Title: "Scheduled for deletion"},
	}
	for _, account := range slices.Sorted(maps.Keys(s.accounts)) {
		for _, name := range slices.Sorted(maps.Keys(s.accounts[account])) {
			sec := s.accounts[account][name]
			state, row := sec.row(now)
			row.Key, row.Place = s.pageKey(sec)
			if key == row.Key {
				d.Detail, d.Missing = sec.detail(state, row), false
			}
			i := slices.IndexFunc(groups, func(g *pageGroup) bool { return g.ID == state })
			groups[i].Count++
			groups[i].Rows = append(groups[i].Rows, row)
		}
	}
	if key != "" {
		return d
	}
	room, failures := maxShown, maxFailures
	for _, g := range groups {
		if g.Count == 0 {
			continue
		}
		d.Groups = append(d.Groups, g)
		shown := min(room, g.Count)
		room, d.More, g.Rows = room-shown, d.More+g.Count-shown, g.Rows[:shown]
		for i := range g.Rows {
			if f := g.Rows[i].Failure; f != nil {
				if failures--; failures < 0 {
					g.Rows[i].Failure = nil
				}
				f.Message = cut(f.Message, 160)
			}
		}
	}
	return d
}

// pageKey returns the page's key for a secret: the end of its ARN, plus its place unless that is
// the default, because a promoted replica and its primary share the end.
func (s *Sim) pageKey(sec *secret) (key, place string) {
	key, place = sec.ARN[len(sec.ARN)-6:], sec.region()
	switch {
	case sec.Account != s.opts.Account:
		return key + "-" + place + "-" + sec.Account, place + ", account " + sec.Account
	case place != s.opts.Region:
		return key + "-" + place, place
	}
	return key, ""
}

// cut truncates a text to at most n bytes of whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

// row returns a secret's row in the overview, and the group that it is in.
func (sec *secret) row(now time.Time) (state string, row pageRow) {
	r := &sec.Rotation
	row = pageRow{Name: sec.Name, Failure: sec.failure(), Last: r.Last}
	if !sec.Deleted.IsZero() {
		row.Failure = nil
		return "deleted", row
	}
	row.Next = r.Next
	// The timer of a fast clock fires a little late.
	row.Late = r.Enabled && !r.Next.IsZero() &&
		(r.Running && r.start.After(r.Next) || !r.Running && row.Failure != nil && now.After(r.Next))
	switch {
	case row.Failure != nil:
		row.Again = r.Running
		return "failing", row
	case row.Late:
		return "late", row
	case r.Running:
		return "running", row
	case r.Enabled:
		return "healthy", row
	}
	return "unrotated", row
}

// failure returns what went wrong in the last attempt of a rotation, or nil if it succeeded or was abandoned.
func (sec *secret) failure() *Progress {
	for _, h := range slices.Backward(sec.history) {
		switch {
		case h.Message != "":
			return &h
		case slices.Contains([]string{"RotationSucceeded", "TestRotationSucceeded", "RotationAbandoned"}, h.Event):
			return nil
		}
	}
	// A restart loses the timeline, but not the labels.
	if _, unfinished := sec.unfinished(); unfinished && sec.Rotation.Enabled && !sec.Rotation.Running {
		return &Progress{Message: "The last rotation did not complete. AWSPENDING is on its version."}
	}
	return nil
}

// detail returns everything that the page shows of a secret.
func (sec *secret) detail(state string, row pageRow) *pageDetail {
	r := &sec.Rotation
	d := &pageDetail{pageRow: row, State: state, ARN: sec.ARN, Description: sec.Description,
		Function: r.Function, Deleted: sec.Deleted,
		Replicas: slices.Clone(sec.Replicas)}
	if r.Rules != nil {
		d.Schedule = r.Rules.ScheduleExpression
		if n := r.Rules.AutomaticallyAfterDays; n != nil {
			d.Schedule = fmt.Sprintf("every %d days", *n)
		}
		if r.Rules.Duration != "" {
			d.Schedule += " for " + r.Rules.Duration
		}
	}
	var deprecated []pageVersion
	for _, v := range sec.newest() {
		if labels := sec.stages(v.ID); labels != nil {
			d.Versions = append(d.Versions, pageVersion{v.ID, v.Created, !v.filled(), labels})
		} else {
			deprecated = append(deprecated, pageVersion{v.ID, v.Created, false, nil})
		}
	}
	room := max(0, 8-len(d.Versions)) // labeled versions are never cut off
	d.Versions = append(d.Versions, deprecated[:min(room, len(deprecated))]...)
	d.Timeline = slices.Clone(sec.history)
	slices.Reverse(d.Timeline)
	return d
}
