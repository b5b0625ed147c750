// Command influxdb2 serves InfluxDB 2's users, sessions and tokens: the server's own packages with its in-memory store,
// connected as in its launcher. It omits the time series and the query language, which is written in Rust: this program
// has stubs for the two functions that are called at start. scripts/deps.sh builds it inside InfluxDB's module, because
// the project does not have that module's requirements.
package main

// #include <influxdata/flux.h>
//
// // The language's names are a FlatBuffer table, here an empty one.
// static char none[] = {8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0};
//
// void flux_get_env_stdlib(struct flux_buffer_t *names) { names->data = none; names->len = sizeof none; }
// void flux_free_bytes(const char *bytes) { (void)bytes; }
//
// #cgo pkg-config: flux
import "C"

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi"
	"github.com/influxdata/influxdb/v2"
	"github.com/influxdata/influxdb/v2/authorization"
	influxhttp "github.com/influxdata/influxdb/v2/http"
	"github.com/influxdata/influxdb/v2/inmem"
	kithttp "github.com/influxdata/influxdb/v2/kit/transport/http"
	"github.com/influxdata/influxdb/v2/kv/migration/all"
	"github.com/influxdata/influxdb/v2/label"
	"github.com/influxdata/influxdb/v2/secret"
	"github.com/influxdata/influxdb/v2/session"
	"github.com/influxdata/influxdb/v2/tenant"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

func main() {
	listen := flag.String("listen", "", "address to listen on")
	cert := flag.String("cert", "", "file of the certificate; without it there is no TLS")
	key := flag.String("key", "", "file of the key")
	flag.Parse()
	// Keep the first user's password and token out of the process list.
	first := &influxdb.OnboardingRequest{User: os.Getenv("INFLUXDB2_USER"), Password: os.Getenv("INFLUXDB2_PASSWORD"),
		Token: os.Getenv("INFLUXDB2_TOKEN"), Org: "first", Bucket: "first"}
	h, err := handler(context.Background(), first)
	if err == nil {
		server := &http.Server{Addr: *listen, Handler: h, ReadHeaderTimeout: time.Minute}
		if *cert == "" {
			err = server.ListenAndServe()
		} else {
			err = server.ListenAndServeTLS(*cert, *key)
		}
	}
	log.Fatal(err)
}

func handler(ctx context.Context, first *influxdb.OnboardingRequest) (http.Handler, error) {
	logger, err := zap.NewProduction()
	if err != nil {
		return nil, err
	}
	store := inmem.NewKVStore()
	if err := all.Up(ctx, logger, store); err != nil {
		return nil, err
	}
	tenants := tenant.NewSystem(tenant.NewStore(store), logger, prometheus.NewRegistry(), true)
	tokenStore, err := authorization.NewStore(store)
	if err != nil {
		return nil, err
	}
	tokens := authorization.NewService(tokenStore, tenants)
	if _, err := tenant.NewOnboardService(tenants, tokens).OnboardInitialUser(ctx, first); err != nil {
		return nil, err
	}
	labelStore, err := label.NewStore(store)
	if err != nil {
		return nil, err
	}
	secretStore, err := secret.NewStore(store)
	if err != nil {
		return nil, err
	}
	sessions := session.NewService(session.NewStorage(inmem.NewSessionStore()), tenants.UserService,
		tenants.UserResourceMappingService, tokens)
	signing := session.NewSessionHandler(logger, sessions, tenants.UserService, tenants.PasswordsService)

	router := chi.NewRouter()
	for _, h := range []kithttp.ResourceHandler{
		tenants.NewUserHTTPHandler(logger),
		tenants.NewMeHTTPHandler(logger),
		tenants.NewOrgHTTPHandler(logger, secret.NewAuthedService(secret.NewService(secretStore))),
		tenants.NewBucketHTTPHandler(logger, label.NewService(labelStore)),
		authorization.NewHTTPAuthHandler(logger, authorization.NewAuthedAuthorizationService(tokens, tenants), tenants),
		signing.SignInResourceHandler(),
		signing.SignOutResourceHandler(),
	} {
		router.Mount(h.Prefix(), h)
	}
	authenticated := influxhttp.NewAuthenticationHandler(logger, kithttp.NewErrorHandler(logger))
	authenticated.Handler = router
	authenticated.AuthorizationService = tokens
	authenticated.SessionService = sessions
	authenticated.UserService = tenants.UserService
	authenticated.RegisterNoAuthRoute(http.MethodPost, "/api/v2/signin")
	authenticated.RegisterNoAuthRoute(http.MethodPost, "/api/v2/signout")
	return authenticated, nil
}
