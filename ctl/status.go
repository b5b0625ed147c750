package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// labeled is one version. A version without a creation time has no value yet: a rotation has reserved it.
type labeled struct {
	ID      string     `json:"id"`
	Labels  []string   `json:"labels"`
	Created *time.Time `json:"created,omitempty"`
}

func newStatus(v *view) *cobra.Command {
	c := &cobra.Command{
		Use:   "status SECRET",
		Short: "Show a secret's versions, labels and schedule, and what is stuck",
		Long: `Status reads Secrets Manager only, never the target. It shows a rotation from its first
second. The exit code is 1 if a rotation is stuck or late, or if the secret has no value
or is scheduled for deletion.`,
		Example: "  rotatorctl status shop/db\n  rotatorctl status shop/db --json | jq -r .next_rotation",
		Args:    cobra.ExactArgs(1),
		RunE: v.open(func(ctx context.Context, s *secret, out *report) error {
			versions, err := v.versions(ctx, s)
			if err != nil {
				return err
			}
			printStatus(s, versions, out)
			for _, f := range findings(s, v.command.Flags().Arg(0)) {
				out.find(f)
			}
			verdict := "Secrets Manager reports nothing wrong with " + s.Name + "."
			switch {
			case out.code() != exitFine:
				verdict = "something is wrong with " + s.Name
			case s.State == stateRunning:
				verdict = "A rotation of " + s.Name + " is under way."
			}
			return out.end(struct {
				secret
				Versions []labeled `json:"versions"`
			}{*s, versions}, verdict)
		}),
	}
	v.flags(c)
	return c
}

// versions returns the labeled versions of a secret, latest first. It also judges the secret again, by the time when
// the rotation under way stored its value.
func (v *view) versions(ctx context.Context, s *secret) ([]labeled, error) {
	versions := []labeled{}
	created := make(map[string]*time.Time)
	pages := secretsmanager.NewListSecretVersionIdsPaginator(v.secrets,
		&secretsmanager.ListSecretVersionIdsInput{SecretId: &s.ARN})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError(ctx, "cannot list the versions", s.ARN, err)
		}
		for _, e := range page.Versions {
			created[aws.ToString(e.VersionId)] = e.CreatedDate
		}
	}
	for id, labels := range s.Labels {
		slices.Sort(labels)
		versions = append(versions, labeled{ID: id, Labels: labels, Created: created[id]})
	}
	slices.SortFunc(versions, func(a, b labeled) int { return aws.ToTime(b.Created).Compare(aws.ToTime(a.Created)) })
	if begun := created[s.Pending]; begun != nil {
		s.judge(*begun, time.Now())
	}
	return versions, nil
}

func fine(check, message string) operator.Finding {
	return operator.Finding{Check: check, State: operator.OK, Message: message}
}

func failed(check string, cause engine.Cause, message, advice string) operator.Finding {
	return operator.Finding{Check: check, State: operator.Failed, Cause: cause, Message: message, Advice: advice}
}

// findings returns the findings about the labels and the rotation. Commands in the advice name the secret by id.
func findings(s *secret, id string) []operator.Finding {
	labels := failed("labels", engine.InvalidSecret, "no version is AWSCURRENT: the secret has no value",
		"store a value with `aws secretsmanager put-secret-value`")
	if s.Current != "" {
		labels = fine("labels", "AWSCURRENT is on version "+s.Current)
	}
	rotation := fine("rotation", cmp.Or(s.Reason, "no rotation is under way"))
	name := quote(id)
	find := "find the cause with `rotatorctl check " + name + "` and in the function's log"
	end := "see how to end it with `rotatorctl recover " + name + "`"
	if s.Current == "" { // recover needs a value
		end = labels.Advice
	}
	switch s.State {
	case stateStuck, stateFailing, stateLate:
		advice := map[string]string{stateStuck: end, stateFailing: find + "; " + end, stateLate: find}
		rotation = failed("rotation", stuck, s.Reason, advice[s.State])
	case stateDeleting:
		rotation = failed("rotation", engine.InvalidSecret, rotation.Message,
			"restore it with `aws secretsmanager restore-secret --secret-id "+name+"` if it is still needed")
	case stateOff, stateManaged:
		rotation.State, rotation.Message = operator.Skipped, cmp.Or(s.Reason, "rotation is off")
	}
	return []operator.Finding{labels, rotation}
}

func printStatus(s *secret, versions []labeled, out *report) {
	next := ""
	if s.Next != nil {
		next = when(s.Next)
	}
	for _, fact := range [][2]string{
		{"ARN", s.ARN}, {"managed by", s.Manager}, {"function", s.Function}, {"schedule", s.Schedule},
		{"last rotated", when(s.Last)}, {"next", next},
	} {
		if fact[1] != "" {
			out.note(fact[0], fact[1])
		}
	}
	for _, v := range versions {
		created := when(v.Created)
		if v.Created == nil {
			created = "no value yet"
		}
		out.note("version", fmt.Sprintf("%s  %-12s  %s", v.ID, strings.Join(v.Labels, " "), created))
	}
}
