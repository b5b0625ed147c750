package docstest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// turns are phrases that read like a translation, each with what to write instead.
var turns = []struct {
	phrase  *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\bso that\b`), "so, to, or a new sentence"},
	{regexp.MustCompile(`\bstands? in\b`), "is, is in"},
	{regexp.MustCompile(`\bof (its|their|your|our|one's) own\b([.,;:)|]|$| (and|or|to|in|for|that|which|with)\b)`),
		"own, custom, separate"},
	{regexp.MustCompile(`, too([.,;:)|]|$)`), "also"},
	{regexp.MustCompile(`\b(is|are) none\b`), "is not a"},
	{regexp.MustCompile(`\bmend(s|ed|ing)?\b`), "fix, repair, resolve"},
	{regexp.MustCompile(`\bbeside\b`), "next to, in addition to"},
	{regexp.MustCompile(`\b[Ww]hoever\b`), "if you, anyone who"},
	{regexp.MustCompile(`\bat once\b`), "immediately, concurrently"},
	{regexp.MustCompile(`\bby itself\b`), "automatically, alone"},
	{regexp.MustCompile(`\bneed not\b`), "does not need to"},
	{regexp.MustCompile(`\bto be had\b`), "available"},
	{regexp.MustCompile(`\btold\b`), "is reported, is called, is notified"},
	{regexp.MustCompile(`(?i)\b(\w*label{2}ed|cancell(ed|ing)|(behavi|neighb|hon|fav|col)our\w*|organis{1}ations?)\b`),
		"the American spelling"},
	{regexp.MustCompile(`\btime-outs?\b`), "timeout"},
}

// found returns the turns in a text, apart from what it quotes.
func found(text string) (all []string) {
	text = quoted.ReplaceAllString(text, "…")
	text = absent.ReplaceAllString(strings.Join(strings.Fields(text), " "), "")
	for _, turn := range turns {
		if m := turn.phrase.FindString(text); m != "" {
			all = append(all, "“"+strings.TrimSpace(m)+"”: write "+turn.instead)
		}
	}
	return all
}

var (
	quoted = regexp.MustCompile("(?s)```.*?```|`[^`]*`|\"[^\"\n]*\"|“[^”]*”|\\]\\([^)]*\\)")
	absent = regexp.MustCompile(`[Tt]here (is|are) none`)      // which is good English
	breaks = regexp.MustCompile(`\n\s*\n|\n *([-*|#>]|\d+\.)`) // between paragraphs, list items and rows of tables
)

// TestPlainEnglish: no Markdown file and no Go comment has one of the turns.
func TestPlainEnglish(t *testing.T) {
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", ".aws-sam", "build", "node_modules"}, d.Name()) {
			return fs.SkipDir
		}
		short, _ := filepath.Rel(root(t), path)
		report := func(line int, text string) {
			for _, turn := range found(text) {
				t.Errorf("%s:%d: %s", short, line, turn)
			}
		}
		switch filepath.Ext(path) {
		case ".md":
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text := quoted.ReplaceAllStringFunc(string(data), func(code string) string {
				return "…" + strings.Repeat("\n", strings.Count(code, "\n"))
			})
			line, from := 1, 0
			for _, at := range append(breaks.FindAllStringIndex(text, -1), []int{len(text), len(text)}) {
				report(line, text[from:at[0]])
				line += strings.Count(text[from:at[1]], "\n")
				from = at[1]
			}
		case ".go":
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			for _, comment := range file.Comments {
				report(files.Position(comment.Pos()).Line, comment.Text())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTurnsAreFound, also across lines, but not in what a text quotes.
func TestTurnsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"It waits, so\nthat nothing is lost.":        1,
		"The error says so, too.":                    1,
		"The key is its own, of its own.":            1,
		"The label of its own version stays.":        0,
		"There is `so that` and \"whoever\" here":    0,
		"```\nso that\n```\nstands":                  0,
		"too many, too soon":                         0,
		"If there is none, it fails.":                0,
		"It is none.":                                1,
		"The lab" + "elled version is told at once.": 3,
	} {
		if got := found(text); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
