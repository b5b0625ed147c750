package sim

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"clock":    func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"minute":   func(t time.Time) string { return t.UTC().Format("01-02 15:04") },
	"short":    func(id string) string { return id[:min(8, len(id))] },
	"lower":    strings.ToLower,
	"versions": (*secret).newest,
	"labels":   (*secret).stages,
	"timeline": (*secret).timeline,
}).ParseFS(pageFiles, "page.html"))

// pagePolicy lets the page run only its own script.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"frame-ancestors 'none'"

// The overview is limited to keep it small: to messages of this many characters, and to this many messages.
const (
	maxMessage  = 160
	maxFailures = 30
)

// pageData is what the page shows. It never contains values.
type pageData struct {
	Host, Region, Faults string
	Now                  time.Time
	Stats                Stats
	// Groups are the overview; groups that need attention come first.
	Groups []*pageGroup
	// Detail is the secret to show, if there is one. Missing means that it does not exist.
	Detail  *pageRow
	Missing bool
}

// pageGroup holds the secrets in one state.
type pageGroup struct {
	ID, Title string
	Rows      []pageRow
}

// pageRow is a secret on the page.
type pageRow struct {
	Secret     *secret
	Key, State string
	Place      string // its region and account, unless both are the defaults
	Late       bool
	Again      bool      // it failed, and its rotation continues
	Failure    *Progress // what went wrong in the last attempt of a rotation
	Next       time.Time
}

// page shows all secrets, or the versions, the labels and the timeline of one.
func (s *Sim) page(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	s.mu.Lock()
	err := pageTemplate.Execute(&text, s.pageData(r))
	s.mu.Unlock()
	if err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", pagePolicy)
	_, _ = w.Write(text.Bytes()) // the client may be gone
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

func (s *Sim) pageData(r *http.Request) *pageData {
	now := s.clock.Now()
	d := &pageData{Host: r.Host, Region: s.opts.Region, Faults: s.opts.Faults.String(), Now: now, Stats: s.stats}
	key := r.PathValue("key")
	d.Missing = key != ""
	groups := []*pageGroup{
		{ID: "failing", Title: "Failing"}, {ID: "late", Title: "Late"}, {ID: "running", Title: "Running"},
		{ID: "healthy", Title: "Healthy"}, {ID: "unrotated", Title: "Not rotated"},
		{ID: "deleted", Title: "Scheduled for deletion"},
	}
	for _, sec := range slices.SortedFunc(maps.Values(s.secrets), func(a, b *secret) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), byName(a, b))
	}) {
		row := sec.row(now)
		row.Key, row.Place = s.pageKey(sec)
		if key == row.Key {
			d.Detail, d.Missing = &row, false
		}
		if f := row.Failure; key == "" && f != nil {
			if utf8.RuneCountInString(f.Message) > maxMessage {
				f.Message = fmt.Sprintf("%.*s…", maxMessage, f.Message)
			}
			if len(groups[0].Rows) >= maxFailures {
				row.Failure = nil
			}
		}
		i := slices.IndexFunc(groups, func(g *pageGroup) bool { return g.ID == row.State })
		groups[i].Rows = append(groups[i].Rows, row)
	}
	d.Groups = slices.DeleteFunc(groups, func(g *pageGroup) bool { return g.Rows == nil })
	return d
}

// pageKey returns the page's key for a secret: the end of its ARN, plus its place unless that is
// the default, because a promoted replica and its primary share the end.
func (s *Sim) pageKey(sec *secret) (key, place string) {
	key = sec.ARN[len(sec.ARN)-6:]
	if sec.Account == s.opts.Account && sec.Region == s.opts.Region {
		return key, ""
	}
	return key + "-" + sec.Region + "-" + sec.Account, sec.Region + ", account " + sec.Account
}

// row returns what the page shows of a secret, but not where.
func (sec *secret) row(now time.Time) pageRow {
	if !sec.Deleted.IsZero() {
		return pageRow{Secret: sec, State: "deleted"}
	}
	r := &sec.Rotation
	running := r.run.active()
	row := pageRow{Secret: sec, State: "unrotated", Failure: sec.failure(), Next: r.Next}
	// The timer of a fast clock fires a little late.
	row.Late = r.Enabled && !r.Next.IsZero() &&
		(running && r.run.start.After(r.Next) || !running && row.Failure != nil && now.After(r.Next))
	switch {
	case row.Failure != nil:
		row.State, row.Again = "failing", running
	case row.Late:
		row.State = "late"
	case running:
		row.State = "running"
	case r.Enabled:
		row.State = "healthy"
	}
	return row
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
	return nil
}

// timeline returns a secret's history, newest first.
func (sec *secret) timeline() []Progress {
	all := slices.Clone(sec.history)
	slices.Reverse(all)
	return all
}
