package sim

import (
	"cmp"
	"crypto/rand"
	"math/big"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// getRandomPassword draws until the password meets every requirement, which makes all such passwords equally likely.
func (s *Sim) getRandomPassword(_ *caller, in *sm.GetRandomPasswordInput) (answer, *fault) {
	n := cmp.Or(aws.ToInt64(in.PasswordLength), 32)
	required := in.RequireEachIncludedType == nil || *in.RequireEachIncludedType
	without := func(set string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(aws.ToString(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, set)
	}
	var classes []string
	for set, excluded := range map[string]*bool{
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ":         in.ExcludeUppercase,
		"abcdefghijklmnopqrstuvwxyz":         in.ExcludeLowercase,
		"0123456789":                         in.ExcludeNumbers,
		"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~": in.ExcludePunctuation,
	} {
		if aws.ToBool(excluded) {
			continue
		}
		set = without(set)
		if set == "" && required {
			return nil, invalidParameter("All characters of the desired type have been excluded")
		}
		classes = append(classes, set)
	}
	all := strings.Join(classes, "")
	if aws.ToBool(in.IncludeSpace) {
		all += without(" ")
	}
	if all == "" {
		return nil, invalidParameter("All characters have been excluded from selection")
	}
	if required && int(n) < len(classes) {
		return nil, invalidParameter("Password length is too short based on the required types")
	}
	for {
		b := make([]byte, n)
		for i := range b {
			k, _ := rand.Int(rand.Reader, big.NewInt(int64(len(all)))) // never fails, as crypto/rand documents
			b[i] = all[k.Int64()]
		}
		if !required || !slices.ContainsFunc(classes, func(c string) bool {
			return !strings.ContainsAny(string(b), c)
		}) {
			return answer{"RandomPassword": string(b)}, nil
		}
	}
}
