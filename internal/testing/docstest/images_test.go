package docstest

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// box is a rectangle of an image.
type box struct {
	what           string
	x0, y0, x1, y1 float64
}

func (b box) holds(o box) bool { return b.x0 <= o.x0 && o.x1 <= b.x1 && b.y0 <= o.y0 && o.y1 <= b.y1 }
func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// wide is the maximum average width of a character, as a fraction of its height: measured in DejaVu Sans, which is
// wider than most fonts.
const wide = 0.62

// drawn reads an image's page, other rectangles, lines, and texts, whose widths are estimated.
func drawn(t *testing.T, svg string) (page box, rects, lines, texts []box) {
	t.Helper()
	type shape struct {
		X      float64 `xml:"x,attr"`
		Y      float64 `xml:"y,attr"`
		W      float64 `xml:"width,attr"`
		H      float64 `xml:"height,attr"`
		X1     float64 `xml:"x1,attr"`
		Y1     float64 `xml:"y1,attr"`
		X2     float64 `xml:"x2,attr"`
		Y2     float64 `xml:"y2,attr"`
		Class  string  `xml:"class,attr"`
		Anchor string  `xml:"text-anchor,attr"`
		Points string  `xml:"points,attr"`
		Text   string  `xml:",chardata"`
	}
	var image struct {
		W     float64 `xml:"width,attr"`
		H     float64 `xml:"height,attr"`
		Rects []shape `xml:"rect"`
		Lines []shape `xml:"line"`
		Poly  []shape `xml:"polyline"`
		Texts []shape `xml:"text"`
	}
	if err := xml.Unmarshal([]byte(svg), &image); err != nil {
		t.Fatal(err)
	}
	page = box{"the page", 0, 0, image.W, image.H}
	for _, r := range image.Rects {
		if r.Class != "page" {
			rects = append(rects, box{r.Class, r.X, r.Y, r.X + r.W, r.Y + r.H})
		}
	}
	for _, l := range image.Lines {
		lines = append(lines, box{l.Class, min(l.X1, l.X2), min(l.Y1, l.Y2), max(l.X1, l.X2), max(l.Y1, l.Y2)})
	}
	for _, p := range image.Poly {
		var x, y []float64
		for _, point := range strings.Fields(p.Points) {
			a, b, _ := strings.Cut(point, ",")
			fa, err1 := strconv.ParseFloat(a, 64)
			fb, err2 := strconv.ParseFloat(b, 64)
			if err1 != nil || err2 != nil {
				t.Fatalf("the point %s", point)
			}
			x, y = append(x, fa), append(y, fb)
		}
		for i := 1; i < len(x); i++ {
			lines = append(lines, box{p.Class, min(x[i-1], x[i]), min(y[i-1], y[i]), max(x[i-1], x[i]),
				max(y[i-1], y[i])})
		}
	}
	for _, s := range image.Texts {
		size := 13.0
		switch s.Class {
		case "n":
			continue // a number in its circle, on a line
		case "in":
			size = 12
		}
		w, x := float64(utf8.RuneCountInString(s.Text))*size*wide, s.X
		if s.Anchor == "middle" {
			x -= w / 2
		}
		texts = append(texts, box{s.Text, x, s.Y - 0.75*size, x + w, s.Y + 0.2*size})
	}
	return page, rects, lines, texts
}

// flaws returns the texts of an image that leave their box or the page, or that a line crosses.
func flaws(t *testing.T, svg string) (found []string) {
	page, rects, lines, texts := drawn(t, svg)
	for i, text := range texts {
		if !page.holds(text) {
			found = append(found, text.what+": leaves the page")
		}
		for j := len(rects) - 1; j >= 0 && !rects[j].holds(text); j-- { // its box hides everything below
			if rects[j].meets(text) {
				found = append(found, text.what+": crosses the edge of a box "+rects[j].what)
			}
		}
		for _, l := range lines {
			if l.meets(text) {
				found = append(found, text.what+": lies under a line")
			}
		}
		for _, other := range texts[:i] {
			if other.meets(text) {
				found = append(found, text.what+": overlaps with "+other.what)
			}
		}
	}
	return found
}

func TestTextOfTheImagesStaysInItsBox(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root(t), "docs", "images", "*.svg"))
	if err != nil || len(names) < 2 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		svg, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flaws(t, string(svg)) {
			t.Errorf("%s: %s", filepath.Base(name), f)
		}
	}
	bad := `<svg width="200" height="100"><rect class="a" x="10" y="10" width="60" height="30"/>` +
		`<line x1="20" y1="0" x2="20" y2="100"/>` +
		`<text x="12" y="30">much too long for it</text><text x="150" y="30">leaves the page</text></svg>`
	if got := flaws(t, bad); len(got) != 4 {
		t.Errorf("a bad image has only these flaws: %q", got)
	}
}
