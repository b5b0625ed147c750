package function

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"example.com/rotator/rotation"
)

const superuserARN = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:superuser-AbCdEf"

// services answers as RDS and Redshift do by their API references; AWS itself
// was not asked.
func services(t *testing.T) topology {
	t.Helper()
	return servicesThatDeny(t, func(string) bool { return false })
}

// servicesThatDeny are services that allow nobody some actions, by their names.
func servicesThatDeny(t *testing.T, denied func(action string) bool) topology {
	t.Helper()
	instances := map[string]string{
		"writer":  `<Endpoint><Address>writer.abc.eu-west-1.rds.amazonaws.com</Address><Port>5433</Port></Endpoint>`,
		"replica": `<Endpoint><Address>replica.abc.eu-west-1.rds.amazonaws.com</Address><Port>5433</Port></Endpoint><ReadReplicaSourceDBInstanceIdentifier>writer</ReadReplicaSourceDBInstanceIdentifier>`,
		"member":  `<Endpoint><Address>member.abc.eu-west-1.rds.amazonaws.com</Address><Port>5432</Port></Endpoint><DBClusterIdentifier>aurora</DBClusterIdentifier>`,
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
		if denied(action[strings.LastIndexByte(action, '.')+1:]) {
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
			fmt.Fprintf(w, `<DescribeDBInstancesResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeDBInstancesResult><DBInstances><DBInstance>%s</DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>`, i)
		case "DescribeDBClusters":
			if r.PostForm.Get("DBClusterIdentifier") != "aurora" {
				missing("DBClusterNotFoundFault")
				return
			}
			fmt.Fprint(w, `<DescribeDBClustersResponse><DescribeDBClustersResult><DBClusters><DBCluster><Endpoint>aurora.cluster-abc.eu-west-1.rds.amazonaws.com</Endpoint><ReaderEndpoint>aurora.cluster-ro-abc.eu-west-1.rds.amazonaws.com</ReaderEndpoint><Port>5432</Port></DBCluster></DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>`)
		case "DescribeClusters":
			fmt.Fprint(w, `<DescribeClustersResponse><DescribeClustersResult><Clusters><Cluster><Endpoint><Address>dw.abc.eu-west-1.redshift.amazonaws.com</Address><Port>5439</Port></Endpoint></Cluster></Clusters></DescribeClustersResult></DescribeClustersResponse>`)
		case "RedshiftServerless.ListNamespaces":
			fmt.Fprint(w, `{"namespaces":[{"namespaceArn":"arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1","namespaceName":"ns"}]}`)
		case "RedshiftServerless.ListWorkgroups":
			fmt.Fprint(w, `{"workgroups":[{"namespaceName":"other","endpoint":{"address":"x","port":1}},{"namespaceName":"ns","endpoint":{"address":"wg.1.eu-west-1.redshift-serverless.amazonaws.com","port":5439}}]}`)
		default:
			missing("InvalidAction")
		}
	}))
	t.Cleanup(server.Close)
	return topology{func(context.Context, string) (aws.Config, error) {
		return aws.Config{BaseEndpoint: &server.URL, HTTPClient: http.DefaultClient, Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}, nil
	}}
}

func TestManagedSuperusersAreFoundByTheirTags(t *testing.T) {
	top := services(t)
	for tag, tc := range map[string]struct {
		arn, host string
		port      int
	}{
		tagInstance:  {"arn:aws:rds:eu-west-1:111122223333:db:writer", "writer.abc.eu-west-1.rds.amazonaws.com", 5433},
		tagCluster:   {"arn:aws:rds:eu-west-1:111122223333:cluster:aurora", "aurora.cluster-abc.eu-west-1.rds.amazonaws.com", 5432},
		tagRedshift:  {"arn:aws:redshift:eu-west-1:111122223333:cluster:dw", "dw.abc.eu-west-1.redshift.amazonaws.com", 5439},
		tagNamespace: {"arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1", "wg.1.eu-west-1.redshift-serverless.amazonaws.com", 5439},
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
		if _, _, err := top.Managed(t.Context(), superuserARN, tags); rotation.CauseOf(err) != rotation.InvalidSecret {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplicasAreThoseThatRDSKnows(t *testing.T) {
	top := services(t)
	const writer, aurora = "writer.abc.eu-west-1.rds.amazonaws.com", "aurora.cluster-abc.eu-west-1.rds.amazonaws.com"
	for _, tc := range []struct {
		host, primary string
		want          bool
	}{
		{"replica.abc.eu-west-1.rds.amazonaws.com", writer, true},
		{"REPLICA.abc.eu-west-1.rds.amazonaws.com", writer, true},
		{"replica.abc.eu-west-1.rds.amazonaws.com", aurora, false},
		{"replica.evil.eu-west-1.rds.amazonaws.com", writer, false},
		{writer, aurora, false},
		{"aurora.cluster-ro-abc.eu-west-1.rds.amazonaws.com", aurora, true},
		{"aurora.cluster-ro-abc.eu-west-1.rds.amazonaws.com", writer, false},
		{"member.abc.eu-west-1.rds.amazonaws.com", aurora, true},
		{"gone.abc.eu-west-1.rds.amazonaws.com", writer, false},
		{"replica.example.com", writer, false},
		{"127.0.0.1", writer, false},
	} {
		got, err := top.Replica(t.Context(), superuserARN, tc.host, tc.primary)
		if err != nil || got != tc.want {
			t.Errorf("%s of %s: %v, %v, want %v", tc.host, tc.primary, got, err, tc.want)
		}
	}
}

// TestNeedsOfTheTopologyAreEnoughAndNothingInThemTooMuch: with the actions that are said
// to be needed every question is answered, and without any one of them some is not.
func TestNeedsOfTheTopologyAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	const writer, aurora = "writer.abc.eu-west-1.rds.amazonaws.com", "aurora.cluster-abc.eu-west-1.rds.amazonaws.com"
	managed := func(tag, id string) func(topology) error {
		return func(top topology) error {
			_, _, err := top.Managed(t.Context(), superuserARN, map[string]string{tag: id})
			return err
		}
	}
	readers := func(top topology) error {
		for host, primary := range map[string]string{"replica.abc.eu-west-1.rds.amazonaws.com": writer, "member.abc.eu-west-1.rds.amazonaws.com": aurora} {
			if _, err := top.Replica(t.Context(), superuserARN, host, primary); err != nil {
				return err
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		tag, id, host string
		ask           func(topology) error
	}{
		"an instance":    {tag: tagInstance, id: "arn:aws:rds:eu-west-1:111122223333:db:writer"},
		"a cluster":      {tag: tagCluster, id: "arn:aws:rds:eu-west-1:111122223333:cluster:aurora"},
		"Redshift":       {tag: tagRedshift, id: "arn:aws:redshift:eu-west-1:111122223333:cluster:dw"},
		"its serverless": {tag: tagNamespace, id: "arn:aws:redshift-serverless:eu-west-1:111122223333:namespace/n-1"},
		"readers":        {host: "member.abc.eu-west-1.rds.amazonaws.com", ask: readers},
	} {
		if c.ask == nil {
			c.ask = managed(c.tag, c.id)
		}
		var actions []string
		for _, p := range (topology{}).Needs(c.tag != "", map[string]string{c.tag: c.id}, c.host) {
			for _, a := range p.Actions {
				actions = append(actions, a[strings.IndexByte(a, ':')+1:])
			}
		}
		if len(actions) == 0 {
			t.Errorf("%s: nothing is needed", name)
		}
		for _, missing := range append([]string{""}, actions...) {
			err := c.ask(servicesThatDeny(t, func(a string) bool { return a == missing || !slices.Contains(actions, a) }))
			if (err == nil) != (missing == "") {
				t.Errorf("%s without %q: %v", name, missing, err)
			}
		}
	}
}

func TestServiceThatCannotBeAskedIsTold(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>`)
	}))
	t.Cleanup(server.Close)
	top := topology{func(context.Context, string) (aws.Config, error) {
		return aws.Config{BaseEndpoint: &server.URL, HTTPClient: http.DefaultClient, Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}, nil
	}}
	_, err := top.Replica(t.Context(), superuserARN, "replica.abc.eu-west-1.rds.amazonaws.com", "x")
	if rotation.CauseOf(err) != rotation.SecretsManagerFailed || !strings.Contains(err.Error(), "AccessDenied") || !strings.Contains(err.Error(), "rds:DescribeDBInstances") {
		t.Errorf("error %v", err)
	}
}
