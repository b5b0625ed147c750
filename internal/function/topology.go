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

var _ rotation.Topology = topology{}

// query is an action of the query protocol that describes one database. absent is the error's code if it does not
// exist, and resource begins its ARN's resource.
type query struct{ action, version, parameter, absent, resource string }

var (
	instances  = query{"rds:DescribeDBInstances", "2014-10-31", "DBInstanceIdentifier", "DBInstanceNotFound", "db:"}
	clusters   = query{"rds:DescribeDBClusters", "2014-10-31", "DBClusterIdentifier", "DBClusterNotFoundFault", "cluster:"}
	warehouses = query{"redshift:DescribeClusters", "2012-12-01", "ClusterIdentifier", "ClusterNotFound", ""}
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

// managed maps the tags to the query that finds the database in the tag's value. Redshift Serverless has no query.
var managed = map[string]query{
	tagInstance: instances, tagCluster: clusters, tagRedshift: warehouses, tagNamespace: {},
}

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
	for tag, q := range managed {
		if tags[tag] == "" {
			continue
		}
		a, err := arn.Parse(tags[tag])
		if err != nil {
			return "", 0, engine.Errorf(engine.InvalidSecret, "check the secret's tags",
				"the tag %s of %s is not an ARN", tag, superuserARN)
		}
		var db database
		if tag == tagNamespace {
			db, err = databases{cfg}.workgroup(ctx, a)
		} else {
			db, err = databases{cfg}.describe(ctx, q, a.Region, a.Resource[strings.LastIndexAny(a.Resource, ":/")+1:])
		}
		if err == nil && db.host == "" {
			err = engine.Errorf(engine.InvalidSecret,
				"wait until the database is available, or name another superuser secret, with a host: with more than 100 "+
					"namespaces of Redshift Serverless, not all are found",
				"the database %s has no endpoint", tags[tag])
		}
		return db.host, db.port, err
	}
	return "", 0, engine.Errorf(engine.InvalidSecret,
		"add host to the superuser secret, or use one that RDS or Redshift manages",
		"the superuser secret %s has no host, and no service manages it", superuserARN)
}

// name is a host name that RDS assigns to an instance or to a cluster's endpoint.
type name struct {
	host, id, region string
	query            query // finds what has the name
}

// nameForm matches identifier, account and region. China and GovCloud swap region and service, except in older names.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html,
// https://github.com/aws/aws-advanced-jdbc-wrapper (RdsUtils)
var nameForm = lazyregexp.New(
	`^([a-z][a-z0-9-]*)\.(cluster-)?[a-z0-9-]+\.(?:([a-z0-9-]+)\.rds|rds\.([a-z0-9-]+))\.amazonaws\.com(?:\.cn)?$`)

// parseName returns false for a host that RDS did not name, such as an alias.
func parseName(host string) (name, bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	m := nameForm().FindStringSubmatch(host)
	if m == nil || Partition(m[3]+m[4]) == "" {
		return name{}, false
	}
	n := name{host, m[1], m[3] + m[4], instances}
	if m[2] != "" {
		n.query = clusters
	}
	return n, true
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
	writer, err := databases{cfg}.named(ctx, p)
	if err != nil || writer.host == "" {
		return false, err
	}
	reader, err := databases{cfg}.named(ctx, h)
	replica := p.query == instances && reader.source == p.id
	return replica || reader.cluster != "" && reader.cluster == writer.cluster, err
}

// Needs returns the permissions for the actions that Managed and Replica call. Redshift's actions do not support ARNs.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html,
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonredshift.html
func (topology) Needs(superuserARN, primary string, tags map[string]string, host string) []engine.Permission {
	var list []engine.Permission
	allow := func(sid, resource string, actions ...string) {
		granted := func(p engine.Permission) bool { return resource == p.Resources[0] }
		if resource != "" && !slices.ContainsFunc(list, granted) {
			list = append(list, engine.Permission{Sid: sid, Actions: actions, Resources: []string{resource}})
		}
	}
	allowName := func(sid, host string) {
		if n, known := parseName(host); known {
			a, _ := arn.Parse(superuserARN)
			a.Service, a.Region, a.Resource = "rds", n.region, n.query.resource+n.id
			allow(sid, a.String(), n.query.action)
		}
	}
	reader := "ReaderHost"
	if primary == "" {
		reader = "OptionalReaderHost"
		allow("SuperuserHost", tags[tagInstance], instances.action)
		allow("SuperuserHost", tags[tagCluster], clusters.action)
		if tags[tagRedshift] != "" {
			allow("SuperuserHost", "*", warehouses.action)
		}
		if tags[tagNamespace] != "" {
			allow("SuperuserHost", "*", "redshift-serverless:ListNamespaces", "redshift-serverless:ListWorkgroups")
		}
	}
	allowName("SuperuserHost", primary)
	allowName(reader, host)
	return list
}

// databases finds the databases of one account.
type databases struct {
	cfg aws.Config
}

// database is a database that was found, or the zero value.
type database struct {
	host            string
	port            int
	reader          string // another name of a cluster
	cluster, source string // the cluster that it is or belongs to, and the instance that it replicates
}

// described holds the fields that are used from a response of RDS or Redshift.
// Sources: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html,
// https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html,
// https://docs.aws.amazon.com/redshift/latest/APIReference/API_DescribeClusters.html
type described struct {
	Instances  []dbInstance `xml:"DescribeDBInstancesResult>DBInstances>DBInstance"`
	Warehouses []dbInstance `xml:"DescribeClustersResult>Clusters>Cluster"` // of Redshift
	Clusters   []struct {
		Endpoint string `xml:"Endpoint"`
		Reader   string `xml:"ReaderEndpoint"`
		Port     int    `xml:"Port"`
	} `xml:"DescribeDBClustersResult>DBClusters>DBCluster"`
}

type dbInstance struct {
	Address string `xml:"Endpoint>Address"`
	Port    int    `xml:"Endpoint>Port"`
	Cluster string `xml:"DBClusterIdentifier"`
	Source  string `xml:"ReadReplicaSourceDBInstanceIdentifier"`
}

// named returns the database with a name.
func (d databases) named(ctx context.Context, n name) (database, error) {
	db, err := d.describe(ctx, n.query, n.region, n.id)
	if !rotation.SameHost(db.host, n.host) && !rotation.SameHost(db.reader, n.host) {
		return database{}, err
	}
	return db, err
}

// describe returns the database with an identifier.
func (d databases) describe(ctx context.Context, q query, region, id string) (db database, err error) {
	service, action, _ := strings.Cut(q.action, ":")
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	form := url.Values{"Action": {action}, "Version": {q.version}, q.parameter: {id}}
	body, code, err := d.send(ctx, service, region, header, []byte(form.Encode()))
	if code == q.absent && code != "" {
		return db, nil
	}
	if err != nil {
		return db, err
	}
	var out described
	if err := xml.Unmarshal(body, &out); err != nil {
		return db, unreadable(service, err)
	}
	for _, i := range append(out.Instances, out.Warehouses...) {
		db = database{host: i.Address, port: i.Port, cluster: i.Cluster, source: i.Source}
	}
	for _, c := range out.Clusters {
		db = database{host: c.Endpoint, port: c.Port, reader: c.Reader, cluster: id}
	}
	return db, nil
}

// workgroup returns the workgroup of a namespace of Redshift Serverless.
// Source: https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/API_ListWorkgroups.html
func (d databases) workgroup(ctx context.Context, namespace arn.ARN) (db database, err error) {
	all, err := d.list(ctx, namespace.Region, "ListNamespaces")
	if err != nil {
		return db, err
	}
	name := "" // the ARN has the namespace's ID, but a workgroup has only the namespace's name
	for _, n := range all.Namespaces {
		if n.NamespaceArn == namespace.String() {
			name = n.NamespaceName
		}
	}
	if name == "" {
		return db, nil
	}
	all, err = d.list(ctx, namespace.Region, "ListWorkgroups")
	for _, g := range all.Workgroups {
		if g.NamespaceName == name {
			db = database{host: g.Endpoint.Address, port: g.Endpoint.Port}
		}
	}
	return db, err
}

// serverless holds the fields that are used from a response of Redshift Serverless.
type serverless struct {
	Namespaces []struct{ NamespaceArn, NamespaceName string }
	Workgroups []struct {
		NamespaceName string
		Endpoint      struct {
			Address string
			Port    int
		}
	}
}

// list returns the first 100 entries of a list of Redshift Serverless, which are all that AWS's template reads.
func (d databases) list(ctx context.Context, region, operation string) (out serverless, err error) {
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"},
		"X-Amz-Target": {"RedshiftServerless." + operation}}
	body, _, err := d.send(ctx, "redshift-serverless", region, header, []byte(`{"maxResults":100}`))
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, unreadable("redshift-serverless", err)
	}
	return out, nil
}

func unreadable(service string, err error) error {
	return engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "cannot read the answer of %s: %w", service, err)
}

// send signs a request and returns the response's body. For a response that is an error, it also returns the error's
// code, if the service uses the query protocol.
func (d databases) send(
	ctx context.Context, service, region string, header http.Header, body []byte,
) (answer []byte, code string, err error) {
	failed := func(err error) ([]byte, string, error) {
		return nil, "", engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "cannot call %s: %w", service, err)
	}
	endpoint := "https://" + service + "." + region + "." + cmp.Or(suffixes[Partition(region)], "amazonaws.com")
	// Only tests set an endpoint: see clients.databases.
	if d.cfg.BaseEndpoint != nil {
		endpoint = *d.cfg.BaseEndpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	req.Header = header.Clone()
	credentials, err := d.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return failed(err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, digest, service, region, time.Now()); err != nil {
		return failed(err)
	}
	resp, err := d.cfg.HTTPClient.Do(req)
	if err != nil {
		return failed(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return failed(err)
	}
	if resp.StatusCode == http.StatusOK {
		return answer, "", nil
	}
	var failure struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	_ = xml.Unmarshal(answer, &failure) // a response that is not XML has no code
	return nil, failure.Code, engine.Errorf(engine.SecretsManagerFailed, adviceTopology, "%s answers %d %s: %s",
		service, resp.StatusCode, failure.Code, failure.Message)
}
