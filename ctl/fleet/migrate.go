package fleet

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/internal/function"
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

// FunctionNeed is what the new function needs for the secrets of an old function.
type FunctionNeed struct {
	Need     string `json:"need"`
	Function string `json:"function"` // the ARN of the old function
	Secrets  int    `json:"secrets"`  // how many secrets need it
}

// Migration describes how to switch the secrets of a listing.
type Migration struct {
	Moves     []Move         `json:"secrets"`
	Functions []FunctionNeed `json:"function_needs,omitempty"`
	Others    int            `json:"others"` // how many secrets no AWS template rotates
}

// Value is what was learned from a secret's value.
type Value struct {
	Engine   string
	Strategy engine.Strategy
	Err      error // why no rotation of this value can succeed
}

// Target is the function to switch to.
type Target struct {
	Function *Function     // nil if it is not known yet
	Kinds    []engine.Kind // of its engines
	// ByARN makes the commands use ARNs, which secrets in other accounts require.
	ByARN bool
}

// Migrate returns the secrets of a listing that AWS's templates rotate, and how to switch each of them. values holds
// the values that were read, by ARN.
func Migrate(l Listing, to Target, values map[string]Value) Migration {
	var m Migration
	needs := make(map[FunctionNeed]int)
	for i := range l.Secrets {
		s := &l.Secrets[i]
		f := l.Functions[s.Function]
		t := f.template()
		switched := to.Function != nil && s.Function == to.Function.ARN
		if !s.Rotates() || switched || t.Name == "" && f.Err == nil {
			m.Others++
			continue
		}
		move := to.move(s, f, t)
		if v, seen := values[s.ARN]; seen {
			move.see(v, t)
		}
		m.Moves = append(m.Moves, move)
		if move.Verdict == Ready || move.Verdict == Needs {
			for _, n := range to.functionNeeds(s, f, t, move.Engine) {
				needs[FunctionNeed{Need: n, Function: f.ARN}]++
			}
		}
	}
	for n, secrets := range needs {
		n.Secrets = secrets
		m.Functions = append(m.Functions, n)
	}
	slices.SortFunc(m.Functions, func(a, b FunctionNeed) int {
		return cmp.Or(strings.Compare(a.Function, b.Function), strings.Compare(a.Need, b.Need))
	})
	slices.SortStableFunc(m.Moves, func(a, b Move) int {
		return cmp.Compare(slices.Index(Verdicts, a.Verdict), slices.Index(Verdicts, b.Verdict))
	})
	return m
}

// move returns how to switch a secret, without knowing its value.
func (to Target) move(s *Secret, f *Function, t template) Move {
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
	name := Quote(s.Name)
	if to.ByARN || strings.HasPrefix(name, "-") {
		name = s.ARN
	}
	switch s.State {
	case Running:
		m.need("wait until the rotation under way has ended")
	case Stuck, Failing:
		m.need("end the rotation under way: rotatorctl recover " + name)
	case Off:
		m.need("decide whether to rotate it: rotation is off, and the switch turns it on")
	}
	if t.Secret != "" && !(t.Engine == "generic" && s.EngineFrom == "tag") {
		m.need(strings.ReplaceAll(t.Secret, "SECRET", name))
	}
	target := `"$NEW"`
	if to.Function != nil {
		target = to.Function.ARN
	}
	m.Switch = []string{
		"rotatorctl rotate " + name + " --function " + target + " --test",
		"rotatorctl rotate " + name,
	}
	m.Back = []string{
		"aws secretsmanager rotate-secret --secret-id " + name + " --rotation-lambda-arn " + s.Function +
			" --no-rotate-immediately",
	}
	return m
}

func (m *Move) need(what string) {
	if m.Verdict == Ready {
		m.Verdict = Needs
	}
	m.Needs = append(m.Needs, what)
}

// see corrects m once the secret's value is known.
func (m *Move) see(v Value, t template) {
	if m.Verdict == Keep {
		return
	}
	if v.Err != nil {
		m.need(v.Err.Error())
		return
	}
	if m.Verdict == Unknown && t.Name == unknownTemplate {
		m.Verdict, m.Needs = Ready, m.Needs[1:]
		if len(m.Needs) > 0 {
			m.Verdict = Needs
		}
	}
	m.Engine = v.Engine
	if t.Strategy == single && v.Strategy == alternating {
		m.need("the value has a superuser secret, which this template ignores: set the tag rotator:strategy=single," +
			" or users alternate from now on")
	}
	m.Strategy = v.Strategy
}

// functionNeeds returns what the new function needs for a secret, except what it is known to have.
func (to Target) functionNeeds(s *Secret, f *Function, t template, name string) []string {
	var needs []string
	if t.Function != "" {
		needs = append(needs, t.Function)
	}
	if s.Key != "" {
		needs = append(needs, "permission to use the key "+s.Key+" (KmsKeyArns)")
	}
	settings, defaults := to.settings(), to.defaults(name)
	for _, n := range passwordSettings {
		old, set := f.Settings[n]
		if set && canonical(n, old) != canonical(n, cmp.Or(settings(n), defaults[n])) {
			needs = append(needs, "the setting "+n+" of the old function: "+old)
		}
	}
	if len(f.Subnets) == 0 || to.Function == nil || to.Function.Err != nil {
		return needs
	}
	shared := func(subnet string) bool { return slices.Contains(to.Function.Subnets, subnet) }
	if !slices.ContainsFunc(f.Subnets, shared) {
		needs = append(needs, "a route to the network of the old function: subnets "+strings.Join(f.Subnets, ",")+
			", security groups "+strings.Join(f.Groups, ","))
	}
	return needs
}

// settings returns the known settings of the new function.
func (to Target) settings() func(name string) string {
	getenv := func(name string) string {
		if to.Function == nil {
			return ""
		}
		return to.Function.Settings[name]
	}
	if settings, err := function.Settings(getenv); err == nil {
		return settings
	}
	return getenv
}

// defaults returns an engine's default password settings, by the names that AWS's templates use.
func (to Target) defaults(name string) map[string]string {
	var p engine.PasswordPolicy
	if i := slices.IndexFunc(to.Kinds, func(k engine.Kind) bool { return k.Serves(name) }); i >= 0 {
		p = to.Kinds[i].Passwords
	}
	return map[string]string{
		"EXCLUDE_CHARACTERS":         p.ExcludeCharacters,
		"PASSWORD_LENGTH":            strconv.Itoa(p.Length),
		"EXCLUDE_NUMBERS":            strconv.FormatBool(p.ExcludeNumbers),
		"EXCLUDE_PUNCTUATION":        strconv.FormatBool(p.ExcludePunctuation),
		"EXCLUDE_UPPERCASE":          strconv.FormatBool(p.ExcludeUppercase),
		"EXCLUDE_LOWERCASE":          strconv.FormatBool(p.ExcludeLowercase),
		"REQUIRE_EACH_INCLUDED_TYPE": strconv.FormatBool(p.RequireEachIncludedType),
	}
}

// canonical returns the same text for all values of a setting that have the same meaning.
func canonical(name, text string) string {
	switch name {
	case "EXCLUDE_CHARACTERS":
		set := []rune(strings.ReplaceAll(text, " ", ""))
		slices.Sort(set)
		return string(slices.Compact(set))
	case "PASSWORD_LENGTH", "USERNAME_CHARACTER_LIMIT":
		return strings.TrimSpace(text)
	}
	// AWS's templates treat any other text as false.
	return strconv.FormatBool(slices.Contains([]string{"true", "1", "y", "yes"}, strings.ToLower(text)))
}

var plain = regexp.MustCompile(`^[\w/.@:+=-]+$`)

// Quote quotes a word for a shell, if necessary.
func Quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
