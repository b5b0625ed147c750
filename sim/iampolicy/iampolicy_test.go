package iampolicy

import "testing"

// TestConditions: the operators for several values differ in how they treat a key that the call does not have.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		operator string
		tags     []string
		want     bool
	}{
		{"StringEquals", []string{"a"}, true},
		{"StringEquals", []string{"c"}, false},
		{"StringEquals", nil, false},
		{"StringLike", []string{"bcd"}, true},
		{"ForAnyValue:StringEquals", []string{"c", "a"}, true},
		{"ForAnyValue:StringEquals", nil, false},
		{"ForAllValues:StringEquals", []string{"c", "a"}, false},
		{"ForAllValues:StringEquals", []string{"a"}, true},
		{"ForAllValues:StringEquals", nil, true},
	} {
		p, err := Parse(`{"Statement":{"Effect":"Allow","Action":"iam:TagUser","Resource":"*","Condition":{"`+
			c.operator+`":{"aws:TagKeys":["a","b*"]}}}}`, "aws:TagKeys")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Permits("iam:TagUser", "arn:aws:iam::123456789012:user/ci",
			map[string][]string{"aws:TagKeys": c.tags}); got != c.want {
			t.Errorf("%s of %v: %t", c.operator, c.tags, got)
		}
	}
	for _, statement := range []string{
		`{"Null":{"aws:TagKeys":"true"}}`, `{"StringEquals":{"aws:PrincipalTag/x":"y"}}`,
		`{"StringEquals":{"aws:TagKeys":7}}`,
	} {
		if _, err := Parse(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+statement+`}}`,
			"aws:TagKeys"); err == nil {
			t.Errorf("%s is accepted", statement)
		}
	}
}
