package function

import (
	"strings"

	"example.com/rotator/rotation"
)

var _ rotation.TopologyNeeder = topology{}

// Needs says which actions Managed and Replica call. Redshift's take no ARN.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonredshift.html
func (topology) Needs(managed bool, tags map[string]string, host string) []rotation.Permission {
	allow := func(sid, resource string, actions ...string) rotation.Permission {
		return rotation.Permission{Sid: sid, Actions: actions, Resources: []string{resource}}
	}
	var list []rotation.Permission
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
				list = append(list, allow("SuperuserHost", t.resource, t.actions...))
			}
		}
	}
	// Whether the host is the superuser's or a reader of it is asked only for
	// names that RDS gives. A managed superuser's host that is the secret's own
	// is not asked for again, which cannot be known here.
	if m := endpointForm.FindStringSubmatch(strings.ToLower(host)); m != nil {
		sid := "ReaderHost"
		if managed {
			sid = "OptionalReaderHost"
		}
		p := allow(sid, "arn:*:rds:"+m[2]+":*:db:*", "rds:DescribeDBInstances", "rds:DescribeDBClusters")
		p.Resources = append(p.Resources, "arn:*:rds:"+m[2]+":*:cluster:*")
		list = append(list, p)
	}
	return list
}
