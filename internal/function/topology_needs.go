package function

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

var _ rotation.TopologyNeeder = topology{}

// Needs says which actions Managed and Replica call, and on what: all that a reader
// can be asked about are itself and the writer. Redshift's actions take no ARN.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html,
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonredshift.html
func (topology) Needs(superuserARN, primary string, tags map[string]string, host string) []engine.Permission {
	var list []engine.Permission
	managed := primary == ""
	if managed {
		for _, t := range []struct {
			tag, resource string
			actions       []string
		}{
			{tagInstance, tags[tagInstance], []string{"rds:DescribeDBInstances"}},
			{tagCluster, tags[tagCluster], []string{"rds:DescribeDBClusters"}},
			{tagRedshift, "*", []string{"redshift:DescribeClusters"}},
			{tagNamespace, "*", []string{"redshift-serverless:ListNamespaces", "redshift-serverless:ListWorkgroups"}},
		} {
			if tags[t.tag] != "" {
				list = append(list, engine.Permission{Sid: "SuperuserHost", Actions: t.actions, Resources: []string{t.resource}})
			}
		}
	}
	// Whether the host is the superuser's or a reader of it is asked only for
	// names that RDS gives. A managed superuser's host that is the secret's own
	// is not asked for again, which cannot be known here.
	m := endpointForm.FindStringSubmatch(strings.ToLower(host))
	secret, err := arn.Parse(superuserARN)
	if m == nil || err != nil {
		return list
	}
	where := "arn:" + secret.Partition + ":rds:" + m[2] + ":" + secret.AccountID + ":"
	resources := []string{where + "db:" + m[1]}
	// An instance is a reader of another, or a member of a cluster; an endpoint of a
	// cluster is asked for as an instance first, of whose name there is none. A managed
	// writer is allowed by SuperuserHost.
	other := ""
	if p := endpointForm.FindStringSubmatch(strings.ToLower(primary)); kindOf(host) == "cluster" {
		other = where + "cluster:" + m[1]
	} else if p != nil {
		other = where + kindOf(primary) + ":" + p[1]
	}
	if other != "" && other != resources[0] && other != tags[tagCluster] {
		resources = append(resources, other)
	}
	actions := []string{"rds:DescribeDBInstances"}
	if slices.ContainsFunc(resources, func(r string) bool { return strings.Contains(r, ":cluster:") }) {
		actions = append(actions, "rds:DescribeDBClusters")
	}
	sid := "ReaderHost"
	if managed {
		sid = "OptionalReaderHost"
	}
	return append(list, engine.Permission{Sid: sid, Actions: actions, Resources: resources})
}

// kindOf tells by a name that RDS gave whether it is an instance's or a cluster's.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
func kindOf(host string) string {
	_, rest, _ := strings.Cut(strings.ToLower(host), ".")
	if strings.HasPrefix(rest, "cluster-") {
		return "cluster"
	}
	return "db"
}
