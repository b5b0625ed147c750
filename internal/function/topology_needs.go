package function

import (
	"slices"
	"strings"

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
	byService := primary == ""
	for _, m := range managed {
		if !byService || tags[m.tag] == "" {
			continue
		}
		resource := tags[m.tag]
		if strings.HasPrefix(m.actions[0], "redshift") {
			resource = "*"
		}
		list = append(list, engine.Permission{Sid: "SuperuserHost", Actions: m.actions, Resources: []string{resource}})
	}
	h, known := parseName(host)
	p, also := parseName(primary)
	secret, err := arn.Parse(superuserARN)
	if !known || !also && !byService || err != nil {
		return list
	}
	// The permissions above cover a managed superuser's host, and those for a cluster cover all of its endpoints.
	var names []name
	if !byService {
		names = append(names, p)
	}
	if !h.cluster || !p.cluster && tags[tagCluster] == "" {
		names = append(names, h)
	}
	var actions, resources []string
	for _, n := range names {
		action, resource := describeInstances, "db:"
		if n.cluster {
			action, resource = describeClusters, "cluster:"
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
	if byService {
		sid = "OptionalReaderHost"
	}
	return append(list, engine.Permission{Sid: sid, Actions: actions, Resources: resources})
}
