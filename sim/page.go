package sim

import (
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"short": func(id string) string { return id[:min(8, len(id))] },
	"lower": strings.ToLower,
}).Parse(pageText))

// pageData is what the page shows; values have no place in it.
type pageData struct {
	Now     time.Time
	Region  string
	Faults  string
	Stats   Stats
	Secrets []pageSecret
	More    int // secrets beyond those
}

// maxShown is how many secrets the page shows: more would keep the service busy.
const maxShown = 200

type pageSecret struct {
	*secret
	Function string
	Versions []pageVersion
	Timeline []pageStep
}

type pageVersion struct {
	ID      string
	Created time.Time
	Empty   bool
	Labels  []string
}

type pageStep struct {
	Progress
	Marks []pageMark
}

// pageMark is a label and the version that it is on.
type pageMark struct{ Label, Version string }

// page shows secrets, their versions and labels, and the timelines of their
// rotations.
func (s *Sim) page(w http.ResponseWriter) {
	s.mu.Lock()
	d := pageData{Now: s.clock.Now(), Region: s.opts.Region, Faults: s.opts.Faults.String(), Stats: s.stats}
	for _, account := range slices.Sorted(maps.Keys(s.accounts)) {
		for _, name := range slices.Sorted(maps.Keys(s.accounts[account])) {
			if len(d.Secrets) == maxShown {
				d.More++
				continue
			}
			d.Secrets = append(d.Secrets, s.accounts[account][name].shown())
		}
	}
	var b strings.Builder
	err := pageTemplate.Execute(&b, d)
	s.mu.Unlock()
	if err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = w.Write([]byte(b.String()))
}

func (sec *secret) shown() pageSecret {
	p := pageSecret{secret: sec}
	p.Function = sec.Rotation.Function[strings.LastIndexByte(sec.Rotation.Function, ':')+1:]
	for _, v := range sec.Versions {
		p.Versions = append(p.Versions, pageVersion{v.ID, v.Created, !v.filled(), sec.stages(v.ID)})
	}
	slices.SortFunc(p.Versions, func(a, b pageVersion) int {
		switch { // those with a label are never cut off
		case a.Labels != nil && b.Labels == nil:
			return -1
		case a.Labels == nil && b.Labels != nil:
			return 1
		}
		return b.Created.Compare(a.Created)
	})
	p.Versions = p.Versions[:min(max(8, len(sec.byVersion())), len(p.Versions))]
	for i, h := range slices.Backward(sec.history) {
		step := pageStep{Progress: h}
		if h.Event != "" && i > 0 && strings.HasPrefix(sec.history[i-1].Err, h.Err) {
			step.Err = "" // the step before has just said it
		}
		for _, l := range slices.Sorted(maps.Keys(h.Labels)) {
			step.Marks = append(step.Marks, pageMark{l, h.Labels[l]})
		}
		p.Timeline = append(p.Timeline, step)
	}
	return p
}
