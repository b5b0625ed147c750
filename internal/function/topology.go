package function

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// topology asks RDS and Redshift which hosts are the same database. It signs the few calls without the services'
// clients, which would make the function a third larger.
type topology struct {
	// config returns the SDK's settings for the account of a secret.
	config func(ctx context.Context, secretARN string) (aws.Config, error)
}

var (
	_ rotation.Topology       = topology{}
	_ rotation.TopologyNeeder = topology{}
)

// The tags that RDS and Redshift put on the superuser secrets that they manage. Nobody else can: the prefix aws: is
// reserved for AWS.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/service-linked-secrets.html
const (
	tagInstance  = "aws:rds:primarydbinstancearn"
	tagCluster   = "aws:rds:primarydbclusterarn"
	tagRedshift  = "aws:redshift:primaryclusterarn"
	tagNamespace = "aws:redshift-serverless:namespacearn"
)

// managed lists the tags, each with the actions that find the database in its value.
var managed = []struct {
	tag     string
	actions []string
}{
	{tagInstance, []string{describeInstances}},
	{tagCluster, []string{describeClusters}},
	{tagRedshift, []string{"redshift:DescribeClusters"}},
	{tagNamespace, []string{"redshift-serverless:ListNamespaces", "redshift-serverless:ListWorkgroups"}},
}

const (
	describeInstances = "rds:DescribeDBInstances"
	describeClusters  = "rds:DescribeDBClusters"
)

const adviceTopology = "allow the role that the function assumes for this secret, or else the function's role, " +
	"rds:DescribeDBInstances and rds:DescribeDBClusters (for Redshift redshift:DescribeClusters or " +
	"redshift-serverless:ListWorkgroups), and in a VPC give it a route to that service"

// Managed returns the host and port of the database whose superuser secret has the tags. The error's cause is
// InvalidSecret for a secret that no service manages, and SecretsManagerFailed if the call to the service fails.
func (t topology) Managed(ctx context.Context, superuserARN string, tags map[string]string) (string, int, error) {
	cfg, err := t.config(ctx, superuserARN)
	if err != nil {
		return "", 0, err
	}
	d := databases{cfg}
	for _, m := range managed {
		if tags[m.tag] == "" {
			continue
		}
		a, err := arn.Parse(tags[m.tag])
		if err != nil {
			return "", 0, engine.Errorf(engine.InvalidSecret, "check the secret's tags",
				"the tag %s of %s is not an ARN", m.tag, superuserARN)
		}
		find := d.endpoint
		if m.tag == tagNamespace {
			find = d.workgroup
		}
		host, port, err := find(ctx, a, m.actions[0])
		if err == nil && host == "" {
			err = engine.Errorf(engine.InvalidSecret, "wait until the database is available",
				"the database %s has no endpoint", tags[m.tag])
		}
		return host, port, err
	}
	return "", 0, engine.Errorf(engine.InvalidSecret,
		"add host to the superuser secret, or use one that RDS or Redshift manages",
		"the superuser secret %s has no host, and no service manages it", superuserARN)
}

// name is a host name that RDS assigns to an instance or to a cluster's endpoint.
type name struct {
	host, id, region string
	cluster          bool
}

// nameForm matches identifier, account and region. China and GovCloud swap region and service, except in older names.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html,
// https://github.com/aws/aws-advanced-jdbc-wrapper (RdsUtils)
var nameForm = lazyregexp.New(
	`^([a-z][a-z0-9-]*)\.(cluster-)?[a-z0-9-]+\.(?:([a-z0-9-]+)\.rds|rds\.([a-z0-9-]+))\.amazonaws\.com(?:\.cn)?$`)

// parseName returns false for a host that RDS did not name, such as an alias.
func parseName(host string) (name, bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	m := nameForm.FindStringSubmatch(host)
	if m == nil || Partition(m[3]+m[4]) == "" {
		return name{}, false
	}
	return name{host: host, id: m[1], region: m[3] + m[4], cluster: m[2] != ""}, true
}

// Replica reports whether two hosts are the same database: both names belong to the same cluster, or host is a read
// replica of the instance primary. It does not check that primary is writable, which only the target knows.
func (t topology) Replica(ctx context.Context, superuserARN, host, primary string) (bool, error) {
	h, known := parseName(host)
	p, also := parseName(primary)
	if !known || !also || h.region != p.region {
		return false, nil
	}
	cfg, err := t.config(ctx, superuserARN)
	if err != nil {
		return false, err
	}
	d := databases{cfg}
	if h.cluster && !p.cluster {
		h, p = p, h
	}
	if p.cluster {
		out, err := d.describe(ctx, describeClusters, p.region, p.id)
		if err != nil || len(out.Clusters) != 1 || !out.Clusters[0].has(p) {
			return false, err
		}
		if h.cluster {
			return out.Clusters[0].has(h), nil
		}
		member, err := d.named(ctx, h)
		return member.Cluster == p.id, err
	}
	source, err := d.named(ctx, p)
	if err != nil || source.Address == "" {
		return false, err
	}
	reader, err := d.named(ctx, h)
	return reader.Source == p.id || reader.Cluster != "" && reader.Cluster == source.Cluster, err
}

// databases finds the databases of one account.
type databases struct {
	cfg aws.Config
}

// described holds the fields that are used from a response of RDS or Redshift.
// Sources: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html,
// https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html,
// https://docs.aws.amazon.com/redshift/latest/APIReference/API_DescribeClusters.html
type described struct {
	Instances  []dbInstance `xml:"DescribeDBInstancesResult>DBInstances>DBInstance"`
	Clusters   []dbCluster  `xml:"DescribeDBClustersResult>DBClusters>DBCluster"`
	Warehouses []dbInstance `xml:"DescribeClustersResult>Clusters>Cluster"` // of Redshift
}

type dbInstance struct {
	Address string `xml:"Endpoint>Address"`
	Port    int    `xml:"Endpoint>Port"`
	Cluster string `xml:"DBClusterIdentifier"`
	Source  string `xml:"ReadReplicaSourceDBInstanceIdentifier"`
}

type dbCluster struct {
	Endpoint string `xml:"Endpoint"`
	Reader   string `xml:"ReaderEndpoint"`
	// Custom are the endpoints that users added.
	Custom []string `xml:"CustomEndpoints>member"`
	Port   int      `xml:"Port"`
}

// queries maps actions that describe one database to their parameters. absent is the code if there is no such database.
var queries = map[string]struct{ version, parameter, absent string }{
	describeInstances:           {"2014-10-31", "DBInstanceIdentifier", "DBInstanceNotFound"},
	describeClusters:            {"2014-10-31", "DBClusterIdentifier", "DBClusterNotFoundFault"},
	"redshift:DescribeClusters": {"2012-12-01", "ClusterIdentifier", "ClusterNotFound"},
}

// has reports whether a name is one of the cluster's endpoints.
func (c dbCluster) has(n name) bool {
	return slices.ContainsFunc(append(c.Custom, c.Endpoint, c.Reader),
		func(e string) bool { return rotation.SameHost(e, n.host) })
}

// named returns the instance with a name, or the zero value.
func (d databases) named(ctx context.Context, n name) (dbInstance, error) {
	out, err := d.describe(ctx, describeInstances, n.region, n.id)
	if err != nil || len(out.Instances) != 1 || !rotation.SameHost(out.Instances[0].Address, n.host) {
		return dbInstance{}, err
	}
	return out.Instances[0], nil
}

// endpoint returns the endpoint of the database with an ARN, or "" if there is none.
func (d databases) endpoint(ctx context.Context, a arn.ARN, action string) (string, int, error) {
	out, err := d.describe(ctx, action, a.Region, a.Resource[strings.LastIndexAny(a.Resource, ":/")+1:])
	all := append(out.Instances, out.Warehouses...)
	for _, c := range out.Clusters {
		all = append(all, dbInstance{Address: c.Endpoint, Port: c.Port})
	}
	if err != nil || len(all) != 1 {
		return "", 0, err
	}
	return all[0].Address, all[0].Port, nil
}

// workgroup finds the endpoint of a namespace's workgroup.
// Source: https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/API_ListWorkgroups.html
func (d databases) workgroup(ctx context.Context, a arn.ARN, _ string) (string, int, error) {
	// The ARN has the namespace's ID, but a workgroup has only the namespace's name.
	name := ""
	if err := d.pages(ctx, a.Region, "ListNamespaces", func(p page) bool {
		for _, n := range p.Namespaces {
			if n.NamespaceArn == a.String() {
				name = n.NamespaceName
			}
		}
		return name != ""
	}); err != nil || name == "" {
		return "", 0, err
	}
	var host string
	var port int
	err := d.pages(ctx, a.Region, "ListWorkgroups", func(p page) bool {
		for _, g := range p.Workgroups {
			if g.NamespaceName == name {
				host, port = g.Endpoint.Address, g.Endpoint.Port
			}
		}
		return host != ""
	})
	return host, port, err
}

// page holds the fields that are used from a page of Redshift Serverless. The last page has no token.
type page struct {
	Namespaces []struct{ NamespaceArn, NamespaceName string }
	Workgroups []struct {
		NamespaceName string
		Endpoint      struct {
			Address string
			Port    int
		}
	}
	NextToken string
}

// pages reads the pages of a list of Redshift Serverless until enough returns true. A repeated token is an error,
// because the pages would never end.
func (d databases) pages(ctx context.Context, region, operation string, enough func(page) bool) error {
	in, seen := map[string]string{}, map[string]bool{}
	for {
		payload, _ := json.Marshal(in) // a map of strings cannot fail
		body, code, err := d.send(ctx, "redshift-serverless", region, "application/x-amz-json-1.1",
			"RedshiftServerless."+operation, payload)
		if err != nil {
			return err
		}
		if code != http.StatusOK {
			return engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "%s of Redshift Serverless answers %d",
				operation, code)
		}
		var p page // a new one, because decoding keeps fields that are not in the response
		if err := json.Unmarshal(body, &p); err != nil {
			return engine.Errorf(engine.SecretsManagerFailed, adviceTopology,
				"cannot read the answer of Redshift Serverless: %w", err)
		}
		if enough(p) || p.NextToken == "" {
			return nil
		}
		if seen[p.NextToken] {
			return engine.Errorf(engine.SecretsManagerFailed, "try again, and check the status of AWS's services",
				"the pages of Redshift Serverless's %s repeat without end", operation)
		}
		in["nextToken"], seen[p.NextToken] = p.NextToken, true
	}
}

// describe makes a call with the query protocol. For a database that does not exist, the result is empty.
func (d databases) describe(ctx context.Context, action, region, id string) (out described, err error) {
	q := queries[action]
	service, action, _ := strings.Cut(action, ":")
	form := url.Values{"Action": {action}, "Version": {q.version}, q.parameter: {id}}
	body, code, err := d.send(ctx, service, region, "application/x-www-form-urlencoded; charset=utf-8", "",
		[]byte(form.Encode()))
	if err != nil {
		return out, err
	}
	if code == http.StatusOK {
		if err := xml.Unmarshal(body, &out); err != nil {
			return out, engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "cannot read the answer of %s: %w",
				service, err)
		}
		return out, nil
	}
	var failure struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	_ = xml.Unmarshal(body, &failure) // a response that is not XML has no code
	if failure.Code == q.absent {
		return out, nil
	}
	return out, engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "%s of %s answers %d %s: %s", action,
		service, code, failure.Code, failure.Message)
}

// send signs a request and returns the response's body and status.
func (d databases) send(
	ctx context.Context, service, region, kind, target string, body []byte,
) ([]byte, int, error) {
	failed := func(err error) error {
		return engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "cannot call %s: %w", service, err)
	}
	endpoint := "https://" + service + "." + region + "." + cmp.Or(suffixes[Partition(region)], "amazonaws.com")
	// Only tests set an endpoint: see clients.databases.
	if d.cfg.BaseEndpoint != nil {
		endpoint = *d.cfg.BaseEndpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, 0, failed(err)
	}
	req.Header.Set("Content-Type", kind)
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	credentials, err := d.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, 0, failed(err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, digest, service, region, time.Now()); err != nil {
		return nil, 0, failed(err)
	}
	resp, err := d.cfg.HTTPClient.Do(req)
	if err != nil {
		return nil, 0, failed(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, 0, failed(err)
	}
	return out, resp.StatusCode, nil
}

// Needs returns the permissions for the actions that Managed and Replica call. Redshift's actions do not support ARNs.
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
