package cfn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const written = `
Parameters:
  Names: {Type: CommaDelimitedList, Default: ""}
  Size: {Type: Number, Default: 3, MinValue: 1, MaxValue: 9}
  Word: {Type: String, Default: a, AllowedPattern: "^[a-z]+$"}
Conditions:
  Named: !Not [!Equals [!Join ["", !Ref Names], ""]]
  Big: !And [Condition: Named, !Equals [!Ref Size, "9"]]
  Either: !Or [!Condition Named, !Condition Big]
Resources:
  One:
    Type: A
    Properties:
      List: [x, !If [Named, !Ref Names, !Ref AWS::NoValue]]
      Gone: !If [Big, here, !Ref AWS::NoValue]
      Text: !Sub "${Word}-${AWS::Region}-${Two.Arn}"
      Parts: !Join ["*", !Split ["{x}", "a{x}b"]]
  Two:
    Type: B
    Condition: Either
`

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, []byte(written), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		values map[string]string
		want   string // of the resources, or of the error
	}{
		{map[string]string{"Two.Arn": "arn"}, "map[One:{A map[List:[x] Parts:a*b Text:a-us-east-1-arn]}]"},
		{map[string]string{"Two.Arn": "arn", "Names": "p, q", "Size": "9"},
			"map[One:{A map[Gone:here List:[x [p q]] Parts:a*b Text:a-us-east-1-arn]} Two:{B map[]}]"},
		{map[string]string{"Two.Arn": "arn", "Size": "10"}, "out of range"},
		{map[string]string{"Two.Arn": "arn", "Word": "A"}, "does not match"},
		{map[string]string{"Two.Arn": "arn", "Other": "x"}, "there is no parameter Other"},
		{nil, "nothing is known of Two.Arn"},
	} {
		resources, err := Read(path, c.values)
		if got := fmt.Sprint(resources); err == nil && got != c.want || err != nil &&
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %s, %v, want %s", c.values, got, err, c.want)
		}
	}
}
