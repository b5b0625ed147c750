package fleet

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Verdict is whether a secret can switch to this project's function.
type Verdict string

// The verdicts, in the order in which they are shown.
const (
	Ready   Verdict = "ready"   // it can switch as it is
	Needs   Verdict = "needs"   // it can switch once Move.Needs is done
	Keep    Verdict = "keep"    // its template cannot be replaced
	Unknown Verdict = "unknown" // its template is not known
)

// Verdicts are all verdicts in order.
var Verdicts = []Verdict{Ready, Needs, Keep, Unknown}

// Move describes how to switch one secret from one of AWS's templates.
type Move struct {
	Secret   string          `json:"secret"`
	ARN      string          `json:"arn"`
	Template string          `json:"template"` // its name, or unknown
	Engine   string          `json:"engine,omitempty"`
	Strategy engine.Strategy `json:"strategy,omitempty"`
	Verdict  Verdict         `json:"verdict"`
	Needs    []string        `json:"needs,omitempty"`
	// Switch and Back are the commands to switch and to go back.
	Switch []string `json:"switch,omitempty"`
	Back   []string `json:"back,omitempty"`
}

// Migration describes how to switch the secrets of a listing.
type Migration struct {
	Moves  []Move         `json:"secrets"`
	Needs  map[string]int `json:"function_needs"` // what the new function needs, and for how many secrets
	Others int            `json:"others"`         // how many secrets no AWS template rotates
}

// Migrate returns the secrets that AWS's templates rotate, and how to switch each of them to the function $NEW. If byARN
// is set, the commands use ARNs, as secrets in other accounts require.
func (l Listing) Migrate(byARN bool) Migration {
	m := Migration{Moves: []Move{}, Needs: make(map[string]int)}
	for i := range l.Secrets {
		s := &l.Secrets[i]
		f := l.functions[unqualified(s.Function)]
		t := f.template()
		if !s.Rotates() || t.Name == "" && f.Err == nil {
			m.Others++
			continue
		}
		name := Quote(s.Name)
		if byARN || strings.HasPrefix(name, "-") {
			name = s.ARN
		}
		move := newMove(s, f, t, name)
		m.Moves = append(m.Moves, move)
		if move.Verdict == Ready || move.Verdict == Needs {
			for _, n := range functionNeeds(s, f, t) {
				m.Needs[n]++
			}
		}
	}
	slices.SortStableFunc(m.Moves, func(a, b Move) int {
		return cmp.Compare(slices.Index(Verdicts, a.Verdict), slices.Index(Verdicts, b.Verdict))
	})
	return m
}

// newMove returns how to switch a secret. name names it in commands.
func newMove(s *Secret, f *Function, t template, name string) Move {
	m := Move{
		Secret: s.Name, ARN: s.ARN, Template: cmp.Or(t.Name, unknownTemplate), Engine: s.Engine, Strategy: s.Strategy,
	}
	switch {
	case f.Err != nil:
		m.Verdict, m.Needs = Unknown, []string{"cannot read the function's configuration: " + f.Err.Error()}
		return m
	case t.Keep != "":
		m.Verdict, m.Needs = Keep, []string{t.Keep}
		return m
	case t.Name == unknownTemplate:
		m.Verdict, m.Needs = Unknown, []string{"the function's name and description do not name its template"}
	default:
		m.Verdict = Ready
	}
	switch s.State {
	case Running:
		m.need("wait until the rotation under way has ended")
	case Stuck, Failing:
		m.need("end the rotation under way: rotatorctl recover " + name)
	case Off:
		m.need("decide whether to rotate it: rotation is off, and the switch turns it on")
	}
	if t.Secret != "" && !(t.Engine == "generic" && s.tags["rotator:engine"] != "") {
		m.need(strings.ReplaceAll(t.Secret, "SECRET", name))
	}
	m.Switch = []string{"rotatorctl rotate " + name + ` --function "$NEW" --test`, "rotatorctl rotate " + name}
	m.Back = []string{"aws secretsmanager rotate-secret --secret-id " + name + " --rotation-lambda-arn " + s.Function +
		" --no-rotate-immediately"}
	return m
}

func (m *Move) need(what string) {
	if m.Verdict == Ready {
		m.Verdict = Needs
	}
	m.Needs = append(m.Needs, what)
}

// functionNeeds returns what the new function needs for a secret.
func functionNeeds(s *Secret, old *Function, t template) []string {
	var needs []string
	if t.Function != "" {
		needs = append(needs, t.Function)
	}
	if s.Key != "" {
		needs = append(needs, "permission to use the key "+s.Key+" (KmsKeyArns)")
	}
	for _, n := range settings {
		if value := old.Settings[n]; value != "" {
			needs = append(needs, "the old function's setting, unless it is the default: "+n+"="+value)
		}
	}
	if len(old.Subnets) > 0 {
		needs = append(needs, "a route to the network of the old function: subnets "+strings.Join(old.Subnets, ",")+
			", security groups "+strings.Join(old.Groups, ","))
	}
	return needs
}

var plain = regexp.MustCompile(`^[\w/.@:+=-]+$`)

// Quote quotes a word for a shell, if necessary.
func Quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
