package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/sim/iampolicy"
)

const superuserARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:superuser-AbCdEf"

// services is a fake that follows the API references of RDS and Redshift. It was not compared with AWS.
func services(t *testing.T) topology {
	t.Helper()
	return servicesByPolicy(t, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
}

// domain returns the end of RDS's host names in a region.
func domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return ".rds." + region + ".amazonaws.com.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return ".rds." + region + ".amazonaws.com"
	}
	return "." + region + ".rds.amazonaws.com"
}

// servicesByPolicy returns services that enforce an identity policy.
func servicesByPolicy(t *testing.T, document string) topology {
	t.Helper()
	policy, err := iampolicy.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	instances := map[string]string{
		"writer": `<Endpoint><Address>writer.abc.eu-west-1.rds.amazonaws.com</Address><Port>5433</Port></Endpoint>`,
		"replica": `<Endpoint><Address>replica.abc.eu-west-1.rds.amazonaws.com</Address><Port>5433</Port></Endpoint>` +
			`<ReadReplicaSourceDBInstanceIdentifier>writer</ReadReplicaSourceDBInstanceIdentifier>`,
		"member": `<Endpoint><Address>member.abc.eu-west-1.rds.amazonaws.com</Address><Port>5432</Port></Endpoint>` +
			`<DBClusterIdentifier>aurora</DBClusterIdentifier>`,
		"second": `<Endpoint><Address>second.abc.eu-west-1.rds.amazonaws.com</Address><Port>5432</Port></Endpoint>` +
			`<DBClusterIdentifier>aurora</DBClusterIdentifier>`,
		"other": `<Endpoint><Address>other.abc.eu-west-1.rds.amazonaws.com</Address><Port>5432</Port></Endpoint>` +
			`<DBClusterIdentifier>another</DBClusterIdentifier>`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "/aws4_request") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = r.ParseForm()
		missing := func(code string) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>none</Message></Error></ErrorResponse>`, code)
		}
		action := r.PostForm.Get("Action") + r.Header.Get("X-Amz-Target")
		scope := strings.Split(r.Header.Get("Authorization"), "/") // …/date/region/service/aws4_request
		resource := "*"
		switch action {
		case "DescribeDBInstances":
			resource = "arn:aws:rds:" + scope[2] + ":111122223333:db:" + r.PostForm.Get("DBInstanceIdentifier")
		case "DescribeDBClusters":
			resource = "arn:aws:rds:" + scope[2] + ":111122223333:cluster:" + r.PostForm.Get("DBClusterIdentifier")
		}
		if !policy.Permits(scope[3]+":"+action[strings.LastIndexByte(action, '.')+1:], resource, nil) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch action {
		case "DescribeDBInstances":
			i, ok := instances[r.PostForm.Get("DBInstanceIdentifier")]
			if !ok {
				missing("DBInstanceNotFound")
				return
			}
			i = strings.ReplaceAll(i, ".eu-west-1.rds.amazonaws.com", domain(scope[2]))
			fmt.Fprintf(w, `<DescribeDBInstancesResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/">`+
				`<DescribeDBInstancesResult><DBInstances><DBInstance>%s</DBInstance></DBInstances>`+
				`</DescribeDBInstancesResult></DescribeDBInstancesResponse>`, i)
		case "DescribeDBClusters":
			if r.PostForm.Get("DBClusterIdentifier") != "aurora" {
				missing("DBClusterNotFoundFault")
				return
			}
			fmt.Fprint(w, strings.ReplaceAll(
				`<DescribeDBClustersResponse><DescribeDBClustersResult><DBClusters><DBCluster>`+
					`<Endpoint>aurora.cluster-abcDOMAIN</Endpoint>`+
					`<ReaderEndpoint>aurora.cluster-ro-abcDOMAIN</ReaderEndpoint><Port>5432</Port>`+
					`</DBCluster></DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>`,
				"DOMAIN", domain(scope[2])))
		case "DescribeClusters":
			fmt.Fprint(w, `<DescribeClustersResponse><DescribeClustersResult><Clusters><Cluster><Endpoint>`+
				`<Address>dw.abc.eu-west-1.redshift.amazonaws.com</Address><Port>5439</Port></Endpoint></Cluster>`+
				`</Clusters></DescribeClustersResult></DescribeClustersResponse>`)
		case "RedshiftServerless.ListNamespaces":
			fmt.Fprint(w,
				`{"namespaces":[{"namespaceArn":"arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1",`+
					`"namespaceName":"ns"}]}`)
		case "RedshiftServerless.ListWorkgroups":
			fmt.Fprint(w, `{"workgroups":[{"namespaceName":"other","endpoint":{"address":"x","port":1}},`+
				`{"namespaceName":"ns",`+
				`"endpoint":{"address":"wg.1.eu-west-1.redshift-serverless.amazonaws.com","port":5439}}]}`)
		default:
			missing("InvalidAction")
		}
	}))
	t.Cleanup(server.Close)
	return topology{func(context.Context, string) (aws.Config, error) {
		return aws.Config{BaseEndpoint: &server.URL, HTTPClient: http.DefaultClient,
			Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}, nil
	}}
}

func TestManagedSuperusersAreFoundByTheirTags(t *testing.T) {
	top := services(t)
	for tag, tc := range map[string]struct {
		arn, host string
		port      int
	}{
		tagInstance: {"arn:aws:rds:eu-west-1:111122223333:db:writer", "writer.abc.eu-west-1.rds.amazonaws.com", 5433},
		tagCluster: {"arn:aws:rds:eu-west-1:111122223333:cluster:aurora",
			"aurora.cluster-abc.eu-west-1.rds.amazonaws.com", 5432},
		tagRedshift: {"arn:aws:redshift:eu-west-1:111122223333:cluster:dw", "dw.abc.eu-west-1.redshift.amazonaws.com",
			5439},
		tagNamespace: {"arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1",
			"wg.1.eu-west-1.redshift-serverless.amazonaws.com", 5439},
	} {
		host, port, err := top.Managed(t.Context(), superuserARN, map[string]string{tag: tc.arn})
		if err != nil || host != tc.host || port != tc.port {
			t.Errorf("%s: %s:%d, %v", tag, host, port, err)
		}
	}
	for name, tags := range map[string]map[string]string{
		"no tag":        {},
		"not an ARN":    {tagInstance: "writer"},
		"gone":          {tagInstance: "arn:aws:rds:eu-west-1:111122223333:db:gone"},
		"cluster gone":  {tagCluster: "arn:aws:rds:eu-west-1:111122223333:cluster:gone"},
		"other's group": {tagNamespace: "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-2"},
	} {
		if _, _, err := top.Managed(t.Context(), superuserARN, tags); engine.CauseOf(err) != engine.InvalidSecret {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostsOfOneDatabase: both hosts belong to one cluster, or the secret's host is a read replica of the superuser's.
// In Aurora every instance can be the writer; only the server itself knows whether it is.
func TestHostsOfOneDatabase(t *testing.T) {
	top := services(t)
	for _, region := range []string{"eu-west-1", "us-gov-west-1", "cn-north-1"} {
		for _, tc := range []struct {
			host, superuser string
			want            bool
		}{
			{"replica.abc", "writer.abc", true},
			{"REPLICA.abc", "writer.abc", true},
			{"writer.abc", "replica.abc", false},
			{"replica.abc", "aurora.cluster-abc", false},
			{"replica.evil", "writer.abc", false},
			{"replica.abc", "writer.evil", false},
			{"writer.abc", "aurora.cluster-abc", false},
			{"aurora.cluster-ro-abc", "aurora.cluster-abc", true},
			{"aurora.cluster-ro-evil", "aurora.cluster-abc", false},
			{"aurora.cluster-ro-abc", "aurora.cluster-evil", false},
			{"aurora.cluster-ro-abc", "writer.abc", false},
			{"aurora.cluster-ro-abc", "member.abc", true},
			{"aurora.cluster-abc", "member.abc", true},
			{"aurora.cluster-ro-abc", "other.abc", false},
			{"member.abc", "aurora.cluster-abc", true},
			{"other.abc", "aurora.cluster-abc", false},
			{"second.abc", "member.abc", true},
			{"second.abc", "other.abc", false},
			{"writer.abc", "other.abc", false},
			{"reports.cluster-custom-abc", "aurora.cluster-abc", false},
			{"gone.abc", "writer.abc", false},
			{"proxy.proxy-abc", "writer.abc", false},
		} {
			host, superuser := tc.host+domain(region), tc.superuser+domain(region)
			got, err := top.Replica(t.Context(), superuserARN, host, superuser)
			if err != nil || got != tc.want {
				t.Errorf("%s with the superuser's %s: %v, %v, want %v", host, superuser, got, err, tc.want)
			}
		}
	}
	for _, hosts := range [][2]string{
		{"replica.abc" + domain("eu-west-1"), "writer.abc" + domain("eu-west-2")},
		{"replica.abc.rds.eu-west-1x.amazonaws.com", "writer.abc.rds.eu-west-1x.amazonaws.com"},
		{"replica.example.com", "writer.abc" + domain("eu-west-1")},
		{"replica.abc" + domain("eu-west-1"), "127.0.0.1"},
	} {
		if got, err := top.Replica(t.Context(), superuserARN, hosts[0], hosts[1]); err != nil || got {
			t.Errorf("%v: %v, %v", hosts, got, err)
		}
	}
	// Older names in China have the same order as in other partitions.
	old := func(id string) string { return id + ".cn-north-1.rds.amazonaws.com.cn" }
	if _, known := parseName(old("replica.abc")); !known {
		t.Error("older names in China are not known")
	}
}

// TestNeedsOfTheTopologyAreEnoughAndNothingInThemTooMuch: a policy with the stated needs permits every call, and a
// policy that lacks any one action or resource does not.
func TestNeedsOfTheTopologyAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	const rds = ".eu-west-1.rds.amazonaws.com"
	const writer, aurora = "writer.abc" + rds, "aurora.cluster-abc" + rds
	for name, c := range map[string]struct{ tag, id, primary, host string }{
		"an instance": {tag: tagInstance, id: "arn:aws:rds:eu-west-1:111122223333:db:writer"},
		"a cluster":   {tag: tagCluster, id: "arn:aws:rds:eu-west-1:111122223333:cluster:aurora"},
		"Redshift":    {tag: tagRedshift, id: "arn:aws:redshift:eu-west-1:111122223333:cluster:dw"},
		"its serverless": {tag: tagNamespace,
			id: "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1"},
		"a replica":           {primary: writer, host: "replica.abc" + rds},
		"a member":            {primary: aurora, host: "member.abc" + rds},
		"members":             {primary: "member.abc" + rds, host: "second.abc" + rds},
		"a member's readers":  {primary: "member.abc" + rds, host: "aurora.cluster-ro-abc" + rds},
		"a cluster's readers": {primary: aurora, host: "aurora.cluster-ro-abc" + rds},
		"a managed one's replica": {tag: tagInstance, id: "arn:aws:rds:eu-west-1:111122223333:db:writer",
			host: "replica.abc" + rds},
		"a managed one's readers": {tag: tagCluster, id: "arn:aws:rds:eu-west-1:111122223333:cluster:aurora",
			host: "aurora.cluster-ro-abc" + rds},
		"a member of a managed one's": {tag: tagCluster, id: "arn:aws:rds:eu-west-1:111122223333:cluster:aurora",
			host: "member.abc" + rds},
	} {
		permissions := (topology{}).Needs(superuserARN, c.primary, map[string]string{c.tag: c.id}, c.host)
		ask := func(policy string) error {
			top, primary := servicesByPolicy(t, policy), c.primary
			var err error
			if c.tag != "" {
				if primary, _, err = top.Managed(t.Context(), superuserARN,
					map[string]string{c.tag: c.id}); err != nil {
					return err
				}
			}
			if c.host == "" {
				return nil
			}
			reader, err := top.Replica(t.Context(), superuserARN, c.host, primary)
			if err == nil && !reader {
				t.Errorf("%s: %s is not a reader of %s", name, c.host, primary)
			}
			return err
		}
		whole, lesser := enginetest.Policies(t, permissions)
		if err := ask(whole); err != nil {
			t.Errorf("%s by %s: %v", name, whole, err)
		}
		if len(lesser) < 1 {
			t.Errorf("%s: nothing is needed", name)
		}
		for what, policy := range lesser {
			if err := ask(policy); engine.CauseOf(err) != engine.SecretsManagerFailed {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestAnswersOfRedshiftServerless: an answer without the workgroup's endpoint has the cause InvalidSecret.
func TestAnswersOfRedshiftServerless(t *testing.T) {
	const namespace = "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1"
	const listed = `{"namespaces":[{"namespaceArn":"arn:other","namespaceName":"o"},` +
		`{"namespaceArn":"` + namespace + `","namespaceName":"ns"}]}`
	for name, c := range map[string]struct {
		namespaces, groups string
		want               engine.Cause
	}{
		"listed":                {listed, `{"workgroups":[{"namespaceName":"ns","endpoint":{"address":"wg","port":5439}}]}`, ""},
		"no namespace":          {`{"namespaces":[]}`, "", engine.InvalidSecret},
		"an entry without name": {`{"namespaces":[{"namespaceArn":"` + namespace + `"}]}`, "", engine.InvalidSecret},
		"no workgroup": {listed, `{"workgroups":[{"namespaceName":"o","endpoint":{"address":"wg","port":5439}}]}`,
			engine.InvalidSecret},
		"not JSON": {`<html>`, "", engine.SecretsManagerFailed},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "ListWorkgroups") {
					fmt.Fprint(w, c.groups)
					return
				}
				fmt.Fprint(w, c.namespaces)
			}))
			defer server.Close()
			top := topology{func(context.Context, string) (aws.Config, error) {
				return aws.Config{BaseEndpoint: &server.URL, HTTPClient: http.DefaultClient,
					Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}, nil
			}}
			host, port, err := top.Managed(t.Context(), superuserARN, map[string]string{tagNamespace: namespace})
			if c.want == "" && (err != nil || host != "wg" || port != 5439) ||
				c.want != "" && (err == nil || engine.CauseOf(err) != c.want) {
				t.Errorf("%s:%d, %v; want %q", host, port, err, c.want)
			}
		})
	}
}

func TestFailedCallOfAServiceIsReported(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not `+
			`authorized</Message></Error></ErrorResponse>`)
	}))
	t.Cleanup(server.Close)
	top := topology{func(context.Context, string) (aws.Config, error) {
		return aws.Config{BaseEndpoint: &server.URL, HTTPClient: http.DefaultClient,
			Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}, nil
	}}
	_, err := top.Replica(t.Context(), superuserARN, "replica.abc.eu-west-1.rds.amazonaws.com",
		"writer.abc.eu-west-1.rds.amazonaws.com")
	if engine.CauseOf(err) != engine.SecretsManagerFailed || !strings.Contains(err.Error(), "AccessDenied") ||
		!strings.Contains(err.Error(), "rds:DescribeDBInstances") {
		t.Errorf("error %v", err)
	}
}

// asked records a request's host and returns no response.
type asked struct{ host string }

func (a *asked) Do(r *http.Request) (*http.Response, error) {
	a.host = r.URL.Host
	return nil, errors.New("no answer")
}

// TestEndpointsOfPartitions: each partition has its DNS suffix.
func TestEndpointsOfPartitions(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1":      "rds.eu-west-1.amazonaws.com",
		"us-gov-west-1":  "rds.us-gov-west-1.amazonaws.com",
		"cn-north-1":     "rds.cn-north-1.amazonaws.com.cn",
		"eusc-de-east-1": "rds.eusc-de-east-1.amazonaws.eu",
		"us-iso-east-1":  "rds.us-iso-east-1.c2s.ic.gov",
		"us-isob-east-1": "rds.us-isob-east-1.sc2s.sgov.gov",
		"eu-isoe-west-1": "rds.eu-isoe-west-1.cloud.adc-e.uk",
		"us-isof-east-1": "rds.us-isof-east-1.csp.hci.ic.gov",
	} {
		var a asked
		d := databases{aws.Config{HTTPClient: &a, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")}}
		if _, err := d.describe(t.Context(), instances, region, "shop"); err == nil || a.host != want {
			t.Errorf("%s: %s (%v), want %s", region, a.host, err, want)
		}
	}
}
