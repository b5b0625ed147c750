package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// status is the state of a secret's rotation at Secrets Manager.
type status struct {
	outcome
	Name     string     `json:"name"`
	Manager  string     `json:"managed_by,omitempty"`
	Enabled  bool       `json:"rotation_enabled"`
	Function string     `json:"function,omitempty"`
	Schedule string     `json:"schedule,omitempty"`
	Last     *time.Time `json:"last_rotated,omitempty"`
	Next     *time.Time `json:"next_rotation,omitempty"`
	Deletion *time.Time `json:"deletion_date,omitempty"`
	Versions []labeled  `json:"versions"`

	changed time.Time // when the secret last changed
}

// labeled is one version. A version without a creation time is reserved by a rotation and has no value yet.
type labeled struct {
	ID      string     `json:"id"`
	Labels  []string   `json:"labels"`
	Created *time.Time `json:"created,omitempty"`
}

// newStatus returns `rotatorctl status`.
func newStatus(v *view) *cobra.Command {
	c := &cobra.Command{
		Use:   "status SECRET",
		Short: "Show a secret's versions, labels and schedule, and what is stuck",
		Long: `Status reads Secrets Manager only, never the target. It shows a rotation from its first
second. The exit code is 1 if a rotation is stuck or late, or if the secret has no value
or is scheduled for deletion.`,
		Example: "  rotatorctl status shop/db\n  rotatorctl status shop/db --json | jq -r .next_rotation",
		Args:    exactArgs(1),
		RunE: v.open(func(
			ctx context.Context, args []string, d *secretsmanager.DescribeSecretOutput, out *report,
		) error {
			s, err := readStatus(ctx, v.secrets, d)
			if err != nil {
				return err
			}
			s.print(out)
			for _, f := range s.judge(time.Now()) {
				out.find(f)
			}
			s.outcome = out.outcome
			switch {
			case !out.OK:
				return out.end(s, "something is wrong with "+args[0])
			case s.holds("AWSPENDING") && s.Enabled:
				return out.end(s, "A rotation of "+args[0]+" is under way.")
			}
			return out.end(s, "Secrets Manager reports nothing wrong with "+args[0]+".")
		}),
	}
	v.flags(c)
	return c
}

func readStatus(
	ctx context.Context, client *secretsmanager.Client, d *secretsmanager.DescribeSecretOutput,
) (*status, error) {
	s := &status{
		Name: aws.ToString(d.Name), Manager: rotation.Manager(d), Enabled: aws.ToBool(d.RotationEnabled),
		Function: aws.ToString(d.RotationLambdaARN), Last: d.LastRotatedDate, Next: d.NextRotationDate,
		Deletion: d.DeletedDate, Versions: []labeled{}, changed: aws.ToTime(d.LastChangedDate),
	}
	if r := d.RotationRules; r != nil {
		s.Schedule = aws.ToString(r.ScheduleExpression)
		if s.Schedule == "" && r.AutomaticallyAfterDays != nil {
			s.Schedule = fmt.Sprintf("rate(%d days)", *r.AutomaticallyAfterDays)
		}
	}
	created := make(map[string]*time.Time)
	pages := secretsmanager.NewListSecretVersionIdsPaginator(client,
		&secretsmanager.ListSecretVersionIdsInput{SecretId: d.ARN, IncludeDeprecated: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsError(ctx, "cannot list the versions", aws.ToString(d.ARN), err)
		}
		for _, e := range page.Versions {
			id := aws.ToString(e.VersionId)
			if created[id] = e.CreatedDate; len(e.VersionStages) == 0 {
				s.Versions = append(s.Versions, labeled{ID: id, Labels: []string{}, Created: e.CreatedDate})
			}
		}
	}
	for id, labels := range d.VersionIdsToStages {
		slices.Sort(labels)
		s.Versions = append(s.Versions, labeled{ID: id, Labels: labels, Created: created[id]})
	}
	slices.SortFunc(s.Versions, func(a, b labeled) int { return aws.ToTime(b.Created).Compare(aws.ToTime(a.Created)) })
	return s, nil
}

// holds reports whether the label is on a version that is not AWSCURRENT.
func (s *status) holds(label string) bool {
	return slices.ContainsFunc(s.Versions, func(v labeled) bool {
		return slices.Contains(v.Labels, label) && !slices.Contains(v.Labels, "AWSCURRENT")
	})
}

// stuck is the cause if a rotation should have ended.
const stuck engine.Cause = "Stuck"

// patience is how long a rotation may be under way. Lambda ends each of its four steps after 15 minutes,
// and most take seconds.
const patience = 15 * time.Minute

// fine returns a finding that is ok.
func fine(check, message string) operator.Finding {
	return operator.Finding{Check: check, State: operator.OK, Message: message}
}

// failed returns a finding that failed.
func failed(check string, cause engine.Cause, message, advice string) operator.Finding {
	return operator.Finding{Check: check, State: operator.Failed, Cause: cause, Message: message, Advice: advice}
}

// judge returns what keeps rotations from succeeding.
func (s *status) judge(now time.Time) []operator.Finding {
	secret := fine("secret", s.Name)
	if s.Manager != "" {
		secret.Message += " is managed by " + s.Manager + ", which rotates it; this function does not"
	}
	if s.Deletion != nil {
		secret = failed("secret", engine.InvalidSecret, "it will be deleted at "+when(s.Deletion),
			"restore it with `aws secretsmanager restore-secret --secret-id "+s.Name+"` if it is still needed")
	}
	labels := failed("labels", engine.InvalidSecret, "no version is AWSCURRENT: the secret has no value",
		"store a value with `aws secretsmanager put-secret-value`")
	under := fine("rotation", "no rotation is under way")
	for _, v := range s.Versions {
		switch {
		case slices.Contains(v.Labels, "AWSCURRENT"):
			labels = fine("labels", "AWSCURRENT is on version "+v.ID)
		case slices.Contains(v.Labels, "AWSPENDING"):
			under = s.underWay(v, now)
		}
	}
	schedule := fine("schedule", s.Schedule+"; the next rotation is due by "+when(s.Next))
	switch {
	case !s.Enabled:
		schedule.State, schedule.Message = operator.Skipped, "rotation is off"
	case s.Next == nil:
		schedule.State, schedule.Message = operator.Skipped, "rotation is on, without a schedule"
	case now.After(*s.Next):
		schedule = failed("schedule", stuck, "the rotation that was due by "+when(s.Next)+" has not succeeded",
			"find the cause with `rotatorctl check "+s.Name+"` and in the function's log")
	}
	return []operator.Finding{secret, labels, under, schedule}
}

// underWay judges the rotation of a version. A version without a value has no creation time, but the
// rotation changed the secret when it began.
func (s *status) underWay(v labeled, now time.Time) operator.Finding {
	begun, version := s.changed, "AWSPENDING is on version "+v.ID+", which has no value yet"
	if v.Created != nil {
		begun, version = *v.Created, "AWSPENDING is on version "+v.ID
	}
	switch {
	case !s.Enabled:
		return failed("rotation", stuck, "a rotation was canceled: "+version+" since "+when(&begun),
			"see how to end it with `rotatorctl recover "+s.Name+"`")
	case now.Sub(begun) > patience:
		return failed("rotation", stuck, "a rotation has been stuck since "+when(&begun)+": "+version,
			fmt.Sprintf("find the cause with `rotatorctl check %[1]s` and in the function's log; "+
				"`rotatorctl recover %[1]s` shows how to end it", s.Name))
	}
	return fine("rotation", "a rotation has been under way since "+when(&begun)+": "+version)
}

// print prints the facts as text.
func (s *status) print(out *report) {
	out.note("ARN", out.Secret)
	if s.Manager != "" {
		out.note("managed by", s.Manager)
	}
	if s.Function != "" {
		out.note("function", s.Function)
	}
	out.note("last rotated", when(s.Last))
	for _, v := range s.Versions {
		created := when(v.Created)
		if v.Created == nil {
			created = "no value yet"
		}
		out.note("version", fmt.Sprintf("%s  %-12s  %s", v.ID, strings.Join(v.Labels, " "), created))
	}
}
