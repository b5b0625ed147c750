package function

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

var _ rotation.TopologyNeeder = topology{}

// Needs returns the actions that Managed and Replica call, and on what. Redshift's actions take no ARN.
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
				list = append(list, engine.Permission{Sid: "SuperuserHost", Actions: t.actions,
					Resources: []string{t.resource}})
			}
		}
	}
	h, known := parseName(host)
	p, also := parseName(primary)
	secret, err := arn.Parse(superuserARN)
	if !known || !also && !managed || err != nil {
		return list
	}
	// The permissions above cover a managed superuser's host, and those for a cluster cover all of its endpoints.
	var names []name
	if !managed {
		names = append(names, p)
	}
	if !h.cluster || !p.cluster && tags[tagCluster] == "" {
		names = append(names, h)
	}
	var actions, resources []string
	for _, n := range names {
		action, resource := "rds:DescribeDBInstances", "db:"
		if n.cluster {
			action, resource = "rds:DescribeDBClusters", "cluster:"
		}
		resources = append(resources, "arn:"+secret.Partition+":rds:"+n.region+":"+secret.AccountID+":"+resource+n.id)
		if !slices.Contains(actions, action) {
			actions = append(actions, action)
		}
	}
	if len(names) == 0 {
		return list
	}
	sid := "ReaderHost"
	if managed {
		sid = "OptionalReaderHost"
	}
	return append(list, engine.Permission{Sid: sid, Actions: actions, Resources: resources})
}
