package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
)

// status is what Secrets Manager tells of a secret's rotation.
type status struct {
	Name     string     `json:"name"`
	ARN      string     `json:"arn"`
	Manager  string     `json:"managed_by,omitempty"`
	Enabled  bool       `json:"rotation_enabled"`
	Function string     `json:"function,omitempty"`
	Schedule string     `json:"schedule,omitempty"`
	Last     *time.Time `json:"last_rotated,omitempty"`
	Next     *time.Time `json:"next_rotation,omitempty"`
	Versions []labeled  `json:"versions"`
	Stuck    []string   `json:"stuck"`
}

// labeled is one version. A version without a creation time is the place that
// a rotation has reserved and not filled yet.
type labeled struct {
	ID      string     `json:"id"`
	Labels  []string   `json:"labels"`
	Created *time.Time `json:"created,omitempty"`
}

// newStatus returns `rotatorctl status`.
func newStatus() *cobra.Command {
	var v view
	c := &cobra.Command{
		Use:   "status SECRET",
		Short: "Show a secret's versions, labels, schedule, and what is stuck",
		Long: `Status asks Secrets Manager alone and never the target. It exits with 1 where a
rotation is stuck.`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			client, d, err := v.open(ctx, args[0])
			if err != nil {
				return err
			}
			s, err := readStatus(ctx, client, d)
			if err != nil {
				return err
			}
			if wantsJSON(c) {
				err = printJSON(c.OutOrStdout(), s)
			} else {
				err = s.print(c.OutOrStdout())
			}
			if err == nil && len(s.Stuck) > 0 {
				err = found{fmt.Errorf("the rotation is stuck (`rotatorctl recover %s` looks for a way out)", args[0])}
			}
			return err
		},
	}
	v.flags(c)
	return c
}

func readStatus(ctx context.Context, client *secretsmanager.Client, d *secretsmanager.DescribeSecretOutput) (*status, error) {
	s := &status{
		Name: aws.ToString(d.Name), ARN: aws.ToString(d.ARN), Manager: rotation.Manager(d), Enabled: aws.ToBool(d.RotationEnabled),
		Function: aws.ToString(d.RotationLambdaARN), Last: d.LastRotatedDate, Next: d.NextRotationDate, Stuck: []string{},
	}
	if r := d.RotationRules; r != nil {
		s.Schedule = aws.ToString(r.ScheduleExpression)
		if s.Schedule == "" && r.AutomaticallyAfterDays != nil {
			s.Schedule = fmt.Sprintf("rate(%d days)", *r.AutomaticallyAfterDays)
		}
	}
	created := make(map[string]*time.Time)
	pages := &secretsmanager.ListSecretVersionIdsInput{SecretId: d.ARN, IncludeDeprecated: aws.Bool(true)}
	var listed []types.SecretVersionsListEntry
	for {
		out, err := client.ListSecretVersionIds(ctx, pages)
		if err != nil {
			return nil, awsError(ctx, "cannot list the versions", aws.ToString(d.ARN), err)
		}
		listed = append(listed, out.Versions...)
		if aws.ToString(out.NextToken) == "" {
			break
		}
		pages.NextToken = out.NextToken
	}
	for _, e := range listed {
		created[aws.ToString(e.VersionId)] = e.CreatedDate
		if len(e.VersionStages) == 0 {
			s.Versions = append(s.Versions, labeled{ID: aws.ToString(e.VersionId), Labels: []string{}, Created: e.CreatedDate})
		}
	}
	for id, labels := range d.VersionIdsToStages {
		slices.Sort(labels)
		s.Versions = append(s.Versions, labeled{ID: id, Labels: labels, Created: created[id]})
	}
	slices.SortFunc(s.Versions, func(a, b labeled) int { return aws.ToTime(b.Created).Compare(aws.ToTime(a.Created)) })
	s.Stuck = append(s.Stuck, s.troubles(time.Now(), aws.ToTime(d.LastChangedDate))...)
	return s, nil
}

// troubles says what keeps rotations from going on. A rotation that has just begun is no
// trouble; it changes the secret, and a version without a value has no time of its own.
func (s *status) troubles(now, changed time.Time) []string {
	var stuck []string
	current := false
	for _, v := range s.Versions {
		current = current || slices.Contains(v.Labels, "AWSCURRENT")
		if !slices.Contains(v.Labels, "AWSPENDING") || slices.Contains(v.Labels, "AWSCURRENT") {
			continue
		}
		switch {
		case !s.Enabled:
			stuck = append(stuck, "AWSPENDING is on version "+v.ID+" although rotation is switched off: a rotation was canceled half-way")
		case v.Created == nil && now.Sub(changed) < 2*time.Minute:
		case v.Created == nil:
			stuck = append(stuck, "AWSPENDING is on version "+v.ID+", which has no value: createSecret has not succeeded yet")
		case now.Sub(*v.Created) > 15*time.Minute:
			stuck = append(stuck, "AWSPENDING has been on version "+v.ID+" for "+now.Sub(*v.Created).Round(time.Minute).String()+": the rotation fails and is repeated")
		}
	}
	if !current {
		stuck = append(stuck, "no version is AWSCURRENT: the secret has no value")
	}
	if s.Enabled && s.Next != nil && now.Sub(*s.Next) > time.Hour {
		stuck = append(stuck, "the rotation that was due "+age(s.Next)+" has not succeeded")
	}
	return stuck
}

func (s *status) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "secret\t%s\n", s.ARN)
	if s.Manager != "" {
		fmt.Fprintf(w, "managed by\t%s, which rotates it: this function does not\n", s.Manager)
	}
	switch {
	case s.Enabled && s.Schedule == "":
		fmt.Fprintf(w, "rotation\ton, without a schedule\n")
	case s.Enabled:
		fmt.Fprintf(w, "rotation\ton, %s\n", s.Schedule)
	default:
		fmt.Fprintf(w, "rotation\toff\n")
	}
	if s.Function != "" {
		fmt.Fprintf(w, "function\t%s\n", s.Function)
	}
	fmt.Fprintf(w, "last rotated\t%s\n", age(s.Last))
	fmt.Fprintf(w, "next rotation\t%s\n", age(s.Next))
	for _, v := range s.Versions {
		created := age(v.Created)
		if v.Created == nil {
			created = "no value yet"
		}
		fmt.Fprintf(w, "version\t%s\t%s\t%s\n", v.ID, strings.Join(v.Labels, " "), created)
	}
	for _, t := range s.Stuck {
		fmt.Fprintf(w, "STUCK\t%s\n", t)
	}
	return w.Flush()
}
