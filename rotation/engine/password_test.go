package engine

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

var ordinary = PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true}

func TestPasswordsKeepThePolicy(t *testing.T) {
	for name, p := range map[string]PasswordPolicy{
		"default":        ordinary,
		"shortest":       {Length: 6, RequireEachIncludedType: true},
		"no punctuation": {Length: 20, ExcludePunctuation: true, RequireEachIncludedType: true},
		"numbers only": {Length: 30, ExcludePunctuation: true, ExcludeUppercase: true, ExcludeLowercase: true,
			RequireEachIncludedType: true},
		"one mark is left": {Length: 24, ExcludeCharacters: "\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
			RequireEachIncludedType: true},
		"longest": {Length: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				s := p.New("11111111-2222-3333-4444-555555555555", "current")
				if len(s) != p.Length || strings.ContainsAny(s, p.ExcludeCharacters) {
					t.Fatalf("a password of %d characters, or with an excluded one", len(s))
				}
				classes, _ := p.classes()
				for _, c := range classes {
					if p.RequireEachIncludedType && !strings.ContainsAny(s, c) {
						t.Fatalf("a password without any of %q", c)
					}
				}
			}
		})
	}
}

func TestImpossiblePoliciesAreRefused(t *testing.T) {
	for name, p := range map[string]PasswordPolicy{
		"no length":        {},
		"too long":         {Length: 4097},
		"negative":         {Length: -1},
		"fewer than types": {Length: 3, RequireEachIncludedType: true},
		"all types excluded": {Length: 32, ExcludeNumbers: true, ExcludePunctuation: true, ExcludeUppercase: true,
			ExcludeLowercase: true},
		"all characters":         {Length: 32, ExcludeCharacters: uppercase + lowercase + numbers + punctuation},
		"a required type, empty": {Length: 32, ExcludeCharacters: numbers, RequireEachIncludedType: true},
		"one character": {Length: 100, ExcludeCharacters: numbers[1:], ExcludePunctuation: true,
			ExcludeUppercase: true, ExcludeLowercase: true},
	} {
		if err := p.Check(); CauseOf(err) != InvalidConfiguration {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestShortPasswords: lengths that AWS's templates accept work, without a seal.
func TestShortPasswords(t *testing.T) {
	for name, p := range map[string]PasswordPolicy{
		"each type":     {Length: 4, RequireEachIncludedType: true},
		"one of a type": {Length: 1},
		"a PIN": {Length: 8, ExcludePunctuation: true, ExcludeUppercase: true, ExcludeLowercase: true,
			RequireEachIncludedType: true},
		"two characters": {Length: 3, ExcludeCharacters: numbers[2:], ExcludePunctuation: true, ExcludeUppercase: true,
			ExcludeLowercase: true},
	} {
		if err := p.Check(); err != nil || p.Seals() {
			t.Errorf("%s: %v, sealed %v", name, err, p.Seals())
		} else if s := p.New("base", "current"); len(s) != p.Length {
			t.Errorf("%s: %d characters", name, len(s))
		}
	}
}

// TestPasswordsAreUnbiased counts characters at several positions, seal included. With 89 characters and 20,000 draws,
// the chi-square is far below the bound unless the choice is biased: bytes modulo 89 would give 1,000 and more.
func TestPasswordsAreUnbiased(t *testing.T) {
	p := ordinary
	p.RequireEachIncludedType = false
	_, alphabet := p.classes()
	const draws = 20000
	for _, place := range []int{0, 15, 27, 28, 31} {
		counts := map[byte]float64{}
		for range draws {
			counts[p.New("base", "current")[place]]++
		}
		expected := float64(draws) / float64(len(alphabet))
		var chi float64
		for i := range len(alphabet) {
			chi += math.Pow(counts[alphabet[i]]-expected, 2) / expected
		}
		if degrees := float64(len(alphabet) - 1); chi > degrees+6*math.Sqrt(2*degrees) {
			t.Errorf("place %d: chi-square %.0f with %.0f degrees of freedom", place, chi, degrees)
		}
	}
}

func TestSealIdentifiesTheVersionAPasswordFollows(t *testing.T) {
	const base = "11111111-2222-3333-4444-555555555555"
	wrong := 0
	for range 2000 {
		s := ordinary.New(base, "current")
		if !ordinary.SealedTo(base, "current", s) {
			t.Fatal("a password does not know its own base and key")
		}
		if ordinary.SealedTo("99999999-2222-3333-4444-555555555555", "current", s) ||
			ordinary.SealedTo(base, "guessed", s) || ordinary.SealedTo(base, "current", s[1:]+"x") ||
			ordinary.SealedTo("", "current", s) {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 2000 passwords passed for another base or key", wrong)
	}
	short := PasswordPolicy{Length: 14} // 60 bits without the four characters of a seal
	if short.Seals() || short.SealedTo(base, "current", short.New(base, "current")) {
		t.Error("a password too short for a seal has one")
	}
}

// TestSealOfASmallAlphabet: the seal of a small alphabet is as strong. If it would leave too little of the password,
// there is none.
func TestSealOfASmallAlphabet(t *testing.T) {
	digits := PasswordPolicy{Length: 40, ExcludePunctuation: true, ExcludeUppercase: true, ExcludeLowercase: true}
	wrong := 0
	for i := range 100000 {
		p := digits.New("a-version-"+strconv.Itoa(i), "current")
		if digits.SealedTo("another-version", "current", p) {
			wrong++
		}
		if i < 100 && !digits.SealedTo("a-version-"+strconv.Itoa(i), "current", p) {
			t.Fatal("a password has no seal")
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 100000 passwords are accepted as made from another version", wrong)
	}
	digits.Length = 29
	if digits.SealedTo("v", "k", digits.New("v", "k")) {
		t.Error("the seal leaves a password less than 64 bits")
	}
	two := PasswordPolicy{
		Length: 32, ExcludeCharacters: "23456789", ExcludePunctuation: true, ExcludeUppercase: true,
		ExcludeLowercase: true,
	}
	if err := two.Check(); err != nil || two.SealedTo("v", "k", two.New("v", "k")) {
		t.Errorf("32 characters of two: %v", err)
	}
}
