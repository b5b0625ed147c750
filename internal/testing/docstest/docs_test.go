// Package docstest runs the commands in the documentation.
package docstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Tests run a block of commands unless a comment gives a reason not to: <!-- needs AWS --> in the line above the block,
// or the same reason in its first line.
var (
	excuses = []string{"needs AWS", "needs Docker", "needs GitHub", "needs the npm registry", "needs root",
		"takes minutes", "run by .ci/run"}
	linked   = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	document = []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
		"docs/*.md", "docs/engines/*.md", "deploy/*/README.md", "examples/README.md"}
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// documents returns the pages by their path in the project.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range document {
		names, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no documents (%v)", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			short, err := filepath.Rel(root(t), name)
			if err != nil {
				t.Fatal(err)
			}
			texts[short] = string(text)
		}
	}
	return texts
}

// block is a code block of a page.
type block struct {
	line       int
	info, text string
	excuse     string // why it is not run
}

var (
	comment = regexp.MustCompile(`^ *<!-- (.*) -->$`)
	fence   = regexp.MustCompile("^( *)(```+|~~~+) *(.*)$")
	inList  = regexp.MustCompile(`^ *([-*]|\d+\.) `)
	command = regexp.MustCompile(`(^|[|;&(] *)(\w+='[^']*' |\w+=\S* )*` +
		`(\./|build/|aws|rotatorctl|sam|make|go|git|docker|terraform|cdk|npm|curl|export|gh|sudo|cfn-lint|bash|` +
		`cat|kill)[\w./-]* `)
)

// blocks returns a page's fenced and indented code blocks.
func blocks(page string) (fenced, indented []block) {
	var open *block
	indent, mark, list, blank := "", "", false, true
	above := ""
	for i, line := range strings.Split(page, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open != nil && m != nil && strings.HasPrefix(m[2], mark) && m[3] == "":
			if first, _, _ := strings.Cut(open.text, "\n"); strings.HasPrefix(first, "# ") && open.excuse == "" {
				open.excuse = strings.TrimPrefix(first, "# ")
			}
			fenced = append(fenced, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n" // the indentation of the list that it is in
		case m != nil:
			open, indent, mark = &block{line: i + 1, info: m[3]}, m[1], m[2]
			if m := comment.FindStringSubmatch(above); m != nil {
				open.excuse = m[1]
			}
		case strings.HasPrefix(line, "    ") && !list && blank:
			indented = append(indented, block{line: i + 1, text: strings.TrimSpace(line)})
			continue // the next line also belongs to it
		case inList.MatchString(line):
			list = true
		case line != "" && !strings.HasPrefix(line, " "):
			list = false
		}
		blank, above = line == "", line
	}
	if open != nil {
		fenced = append(fenced, block{line: open.line, info: "never closed", text: open.text})
	}
	return fenced, indented
}

// commands returns roughly the programs that a script calls: the first words of its lines, pipes and substitutions.
func commands(script string) []string {
	script = strings.ReplaceAll(script, "\\\n", " ")
	var kept []string
	end := "" // of a here-document
	for _, line := range strings.Split(script, "\n") {
		if end != "" {
			if line == end {
				end = ""
			}
			continue
		}
		if m := regexp.MustCompile(`<<'?(\w+)'?`).FindStringSubmatch(line); m != nil {
			end = m[1]
		}
		kept = append(kept, line)
	}
	script = strings.Join(kept, "\n")
	var all []string
	for _, part := range regexp.MustCompile(`\n|\||&&|;|\$\(`).Split(script, -1) {
		words := strings.Fields(part)
		for len(words) > 0 && (strings.Contains(words[0], "=") ||
			slices.Contains([]string{"until", "while", "do", "if", "then", "!"}, words[0])) {
			words = words[1:]
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		name := filepath.Base(words[0])
		if name == "aws" && len(words) > 1 {
			name += " " + words[1]
		}
		all = append(all, name)
	}
	return all
}

// TestCommandsOfTheDocuments runs the `sh run` blocks of each page, one after the other in one shell, as if a reader
// copied them. TestSAM runs `sh sam` blocks, and TestTheOwnEngineOfTheDocumentation runs `sh outside` blocks. The shell
// at least parses all other commands.
func TestCommandsOfTheDocuments(t *testing.T) {
	ran := 0
	for name, text := range documents(t) {
		script := ""
		fenced, indented := blocks(text)
		for _, b := range indented {
			if command.MatchString(b.text) {
				t.Errorf("%s:%d: indented commands, which belong in a block `sh`: %s", name, b.line, b.text)
			}
		}
		for _, b := range fenced {
			switch {
			case b.info == "sh run":
				script += b.text
			case b.info == "sh sam" || b.info == "sh outside":
				if out, err := exec.Command("bash", "-n", "-c", b.text).CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v\n%s", name, b.line, err, out)
				}
			case b.info != "sh":
				if b.info == "" || b.info == "never closed" {
					t.Errorf("%s:%d: a block that does not say what it is", name, b.line)
				}
				if slices.Contains([]string{"", "text", "console", "bash", "shell"}, b.info) &&
					command.MatchString(b.text) {
					t.Errorf("%s:%d: commands in a block that is not `sh`", name, b.line)
				}
			case !slices.ContainsFunc(excuses, func(e string) bool { return strings.HasPrefix(b.excuse, e) }):
				t.Errorf("%s:%d: commands that are not run, and do not say why:\n%s", name, b.line, b.text)
			default:
				if out, err := exec.Command("bash", "-n", "-c", b.text).CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v\n%s", name, b.line, err, out)
				}
				if strings.HasPrefix(b.excuse, "needs AWS") &&
					!slices.ContainsFunc(commands(b.text), func(c string) bool {
						return !slices.Contains([]string{"aws secretsmanager", "rotatorctl", "export"}, c)
					}) {
					t.Errorf("%s:%d: the commands need no excuse: they can run against the simulator", name, b.line)
				}
			}
		}
		if script != "" {
			ran++
			t.Run(name, func(t *testing.T) { runScript(t, name, script) })
		}
	}
	if ran < 6 {
		t.Errorf("the commands of only %d pages were run", ran)
	}
}

// TestBlocksThatEscape: the functions of the test above find all blocks and commands.
func TestBlocksThatEscape(t *testing.T) {
	fenced, indented := blocks("text:\n\n    ROTATOR='a b' go test ./x\n\n" +
		"- a list\n    more of it, with aws in it\n\n  ```sh\n  # needs AWS\n  aws x\n  ```\n\n" +
		"```\nrotatorctl sim\n```\n<!-- needs AWS -->\n```sh\naws y\n```\n~~~sh\nopen\n")
	if len(indented) != 1 || !command.MatchString(indented[0].text) {
		t.Errorf("indented: %v", indented)
	}
	if len(fenced) != 4 || fenced[0].info != "sh" || fenced[0].text != "# needs AWS\naws x\n" || fenced[1].info != "" ||
		!command.MatchString(fenced[1].text) || fenced[3].info != "never closed" {
		t.Errorf("fenced: %v", fenced)
	}
	for i, want := range []string{"needs AWS", "", "needs AWS", ""} {
		if fenced[i].excuse != want {
			t.Errorf("block %d is excused by %q, want %q", i, fenced[i].excuse, want)
		}
	}
	const script = "A=b aws logs tail x | jq . \\\n  -r\nuntil build/rotatorctl x; do sleep 1; done\n" +
		"cat > f <<'E'\nhidden\nE\n# no"
	want := []string{"aws logs", "jq", "rotatorctl", "sleep", "done", "cat"}
	if got := commands(script); !slices.Equal(got, want) {
		t.Errorf("commands %q", got)
	}
}

// TestFiguresAreInOnePlace: measurements of the suites are only in docs/engines/README.md, where they are easy to
// update, and not on the engines' pages.
func TestFiguresAreInOnePlace(t *testing.T) {
	for name, text := range documents(t) {
		if m := regexp.MustCompile(`\d+ (?:crash|sweep) points`).FindString(text); m != "" &&
			name != "docs/engines/README.md" {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// TestLinksOfTheDocuments: a link inside the project leads to a file, and its anchor to a heading.
func TestLinksOfTheDocuments(t *testing.T) {
	texts := documents(t)
	for name, text := range texts {
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			path := name
			if m[1] != "" {
				path = filepath.Join(filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(filepath.Join(root(t), path)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
				continue
			}
			page, ok := texts[path]
			if ok && m[2] != "" && !slices.Contains(anchors(page), strings.TrimPrefix(m[2], "#")) {
				t.Errorf("%s: the link to %s%s leads to no heading", name, m[1], m[2])
			}
		}
	}
}

// anchors returns the anchors of a page's headings as GitHub derives them.
func anchors(page string) []string {
	var found []string
	mark := ""
	for line := range strings.SplitSeq(page, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case mark != "":
			if m != nil && strings.HasPrefix(m[2], mark) && m[3] == "" {
				mark = ""
			}
		case m != nil:
			mark = m[2]
		case strings.HasPrefix(line, "#"):
			title := strings.ToLower(strings.TrimLeft(line, "# "))
			title = regexp.MustCompile(`\]\([^)]*\)|[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
			found = append(found, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return found
}

func TestAnchors(t *testing.T) {
	page := "# A page\n\n```sh\n# no heading\n```\n\n## `Locked`, and [more](x.md)\n"
	if got := anchors(page); !slices.Equal(got, []string{"a-page", "locked-and-more"}) {
		t.Errorf("anchors %q", got)
	}
}

// TestTestsThatTheDocumentsName: every test that a page names exists.
func TestTestsThatTheDocumentsName(t *testing.T) {
	exist := make(map[string]bool)
	err := filepath.WalkDir(root(t), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			exist[string(m[1])] = true
		}
		if strings.HasSuffix(path, "enginetest/harness.go") {
			for _, m := range regexp.MustCompile(`\{"(\w+)", \w+\},`).FindAllSubmatch(text, -1) {
				exist["enginetest/"+string(m[1])] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|enginetest/)\\w+)`").FindAllStringSubmatch(text, -1) {
			named++
			if !exist[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", filepath.Base(name), m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named", named)
	}
}
