# Everything works from a fresh clone with Go and git. As root on Debian, it also installs the
# servers that the tests use.
GO       ?= go
# TAGS adds engines that are large: with_oracle.
TAGS     ?=
# The version that the programs print. Outside a git checkout, pass VERSION=.
DESCRIBE := describe --tags --always --dirty --abbrev=12
VERSION  ?= $(shell git $(DESCRIBE) 2>/dev/null)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
# lambda.norpc omits the go1.x runtime from the function.
FUNCTION  = CGO_ENABLED=0 $(GO) build -trimpath -tags 'lambda.norpc $(TAGS)' -ldflags '-s -w -X main.version=$(or $(VERSION),unreleased)'

# Every test runs under the race detector, except the parts of the conformance suite that do one
# thing at a time, such as the sweeps, which crash or hold a rotation at one point after another.
# They perform so many rotations that the detector would dominate the run time. They run without it;
# their names begin with TestEngine. test-race and test-suites are the two parts, which `make --jobs`
# runs in parallel. `make lint` vets.
TEST   := $(GO) test -p 2 -count=1 -vet=off -timeout 25m
SINGLE := ^(Standing|Sweep|Cuts|Edits|Identity|Recovery|Recover|Preflight|Late|Strangers|Administrators|Rights|Writer|HostileHost|LeftBehind)$$
OTHERS := ^(Duplicates|Witness|Silence|Birth)$$

# These parts depend least on the server's version and on who changes the password. Three kinds of tests skip them:
# single users by the superuser (if alternating users also use one), masters like RDS's, and Debian 13's servers. With
# -skip, Go uses the first alternative that matches the known part of a name, so short ones come first.
SHARED := ^(Cuts|Duplicates|Late|Silence|Edits|Recover|Preflight|HostileHost|LeftBehind)$$

.PHONY: ca-bundle build build-RotatorFunction image demo test test-race test-suites test-ready test-mysql test-next test-oracle test-cdk test-terraform test-sam test-docker test-jest screenshot bench check lint release deps deps-mysql deps-next deps-cdk deps-terraform deps-sam deps-docker deps-jest clean

# build builds the function and rotatorctl for this machine.
build:
	$(FUNCTION) -o build/bootstrap ./cmd/rotator
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '-X main.version=$(or $(VERSION),unreleased) -X example.com/rotator/ctl.commit=$(COMMIT)' -o build/rotatorctl ./cmd/rotatorctl

# `sam build` calls build-RotatorFunction in a copy of this folder without .git. It passes the
# folder to fill, which is inside the checkout. The processor comes from the template.
PROCESSOR = $(subst x86_64,amd64,$(shell sed -n 's/^ *Architectures: \[\([a-z0-9_]*\)\].*/\1/p' template.yaml))
build-RotatorFunction: VERSION := $(or $(VERSION),$(shell git -C '$(ARTIFACTS_DIR)' $(DESCRIBE) 2>/dev/null))
build-RotatorFunction:
	@[ '$(or $(GOARCH),$(PROCESSOR))' = '$(PROCESSOR)' ] || \
		{ echo "GOARCH is $(GOARCH), but the function in template.yaml is for $(PROCESSOR). Unset GOARCH, or change the line Architectures in template.yaml." >&2; exit 1; }
	GOOS=linux GOARCH=$(PROCESSOR) $(FUNCTION) -o '$(ARTIFACTS_DIR)/bootstrap' ./cmd/rotator
	cp -R files '$(ARTIFACTS_DIR)' && rm '$(ARTIFACTS_DIR)/files/README.md' && chmod -R a+rX '$(ARTIFACTS_DIR)/files'

# ca-bundle fetches the certificates of RDS and Aurora that the function embeds.
ca-bundle:
	curl -fsS -o rotation/engine/rds-ca-bundle.pem https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
	$(GO) test -count=1 -run TestBundleCoversEveryRegion ./rotation/engine

# image builds the simulator's image for this machine's processor.
IMAGE ?= rotator-sim
image:
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags '-s -w' -o build/image/rotatorctl ./cmd/rotatorctl
	docker build --tag $(IMAGE) .

# demo uses the machine's PostgreSQL, installs Debian's if run as root, or fetches one. Compiling
# takes minutes the first time, so demo prints progress immediately and then every ten seconds.
demo:
	@echo 'Preparing: compiling the function and the demo. The first time, this takes a few minutes.'
	@while sleep 10 >/dev/null 2>&1; do echo '  still preparing'; done & ticker=$$!; trap 'kill $$ticker' EXIT; \
	$(MAKE) --silent build && $(GO) build -o build/demo ./internal/dev/demo && \
	{ [ "$$(id -u)" != 0 ] || scripts/deps.sh postgres || true; }
	@build/demo

# `scripts/deps.sh aws` creates one of these folders unless python3 already has the modules.
test-race test-suites: export PATH := /var/cache/rotator-testserver/python-1/bin:$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rotator-testserver/python-1/bin:$(PATH)

# test prints the figures of the crash sweeps and the witnesses at the end.
test: test-race test-suites
	@sort build/figures

# The packages that take longest come first, and those that only wait next to those that compute. Most of test-race's
# time is waiting, so three packages run in parallel.
LONGEST := ./rotation/postgres ./rotation/oracle ./rotation/mysql ./rotation/iam ./rotation/mongodb ./rotation/ldap ./rotation/redis ./rotation/redshift ./rotation/sqlserver
test-race test-suites: export ROTATOR_FIGURES = $(CURDIR)/build/figures
test-race: test-ready
	$(TEST) -p 3 -race -parallel 4 -skip '(RDS|BySuperuser)/$(SHARED)|/$(SINGLE)|//$(SINGLE)|/(rds|superuser)/$(SHARED)' $(LONGEST) ./ctl ./rotation/enginetest ./...

test-suites: test-ready
	$(TEST) -parallel 6 -run '^TestEngine' -skip '(RDS|BySuperuser)/$(SHARED)|/$(OTHERS)|//$(OTHERS)|/(rds|superuser)/$(SHARED)' $(LONGEST) ./rotation/...

test-ready: deps
	@mkdir -p build && rm -f build/figures

# test-mysql and test-next run the tests that need servers missing in this Debian: MySQL, and the
# servers of Debian 13, on which rotations crash at every fourth point. Both targets fail if their
# servers cannot be fetched. Neither uses the race detector, which `make test` uses on the same code.
test-mysql: export ROTATOR_FIGURES = $(CURDIR)/build/figures-mysql
test-mysql: deps-mysql
	@mkdir -p build && rm -f build/figures-mysql
	$(TEST) -parallel 6 -tags mysql -skip '/(rds|superuser)/$(SHARED)' ./rotation/mysql
	@sort build/figures-mysql

test-next: export ROTATOR_FIGURES = $(CURDIR)/build/figures-next
test-next: deps-next
	@mkdir -p build && rm -f build/figures-next
	$(TEST) -parallel 4 -short -tags next -run '^TestEngine|Valkey|PgBouncer' -skip 'RDS|ActiveDirectory|/rds$$|/$(SHARED)|//$(SHARED)' \
		./internal/testing/testserver ./rotation/redis ./rotation/ldap ./rotation/rabbitmq ./rotation/mysql ./rotation/postgres
	@sort build/figures-next

# test-oracle builds the function with the tag with_oracle and tests what it changes. The engine's
# own tests do not need it.
test-oracle:
	CGO_ENABLED=0 $(GO) build -tags 'lambda.norpc with_oracle' -o /dev/null ./cmd/rotator
	$(TEST) -tags with_oracle -run 'Oracle|Engine' ./internal/function

# test-cdk compiles and synthesizes the code of docs/cdk.md and examples/cdk.
test-cdk: deps-cdk
	$(TEST) -tags cdk -run CDK ./deploy

# test-terraform validates the module of deploy/terraform and examples/terraform, and runs the module's tests.
test-terraform: deps-terraform
	cd tools && $(GO) vet ./terraform && $(GO) test -count=1 ./terraform

# test-sam runs docs/sam.md and the README's deployment with the stock SAM CLI, in Docker.
test-sam: export PATH := /var/cache/rotator-testserver/sam/bin:$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rotator-testserver/sam/bin:$(PATH)
test-sam: deps-sam
	scripts/with-docker.sh $(TEST) -tags sam -run SAM ./internal/testing/docstest

# test-docker rotates a secret with the simulator's image.
test-docker: deps-docker
	scripts/with-docker.sh $(TEST) -tags docker -run Image ./ctl

# test-jest rotates a secret with a copy of the JavaScript example.
test-jest: deps-jest
	rm -rf build/jest && mkdir -p build/jest && cp examples/javascript/* build/jest
	$(GO) build -o build/jest/bin/rotatorctl ./cmd/rotatorctl
	cd build/jest && npm install --ignore-scripts --silent --no-audit --no-fund && PATH=$(CURDIR)/build/jest/bin:$$PATH npx jest

# screenshot takes the screenshot of the simulator's page for docs/simulator.md.
screenshot: deps
	ROTATOR_SCREENSHOT=$(CURDIR)/docs/images/simulator.png $(TEST) -run '^TestScreenshot$$' ./sim

# bench measures and prints the cost of a rotation, and of rotatorctl with 10,000 secrets, in 20 minutes.
# It fails if the calls, logins, memory or size exceed their goals.
bench:
	$(GO) test -run '^$$' -bench Start -benchtime 41x ./internal/function
	$(GO) test -run '^$$' -bench 'Rotation|Gap' -benchtime 1x ./internal/function
	$(GO) test -timeout 30m -run '^$$' -bench Fleet -benchtime 1x ./cmd/rotatorctl ./sim

# check is the quick loop: lint and the tests that start no server, without the conformance suite. It takes
# about a minute on two cores once Go has built everything.
check: lint
	$(GO) test -p 3 -vet=off -skip '^TestEngine' $$($(GO) list -f '{{.Dir}}' ./... | grep -Ev '(rotation/enginetest|internal/testing/testserver|internal/dev/release)$$' | \
		while read -r dir; do grep -Eqs 'testserver\.(NewServer|Shared|[A-Za-z0-9]*Options\{|Python)' "$$dir"/*_test.go || echo "$$dir"; done)

# lint also runs the linters of .golangci.yml.
lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags 'cdk docker mysql next oracle sam sqlserver with_oracle' ./...
	$(GO) tool -modfile=tools/go.mod golangci-lint run --allow-parallel-runners ./...
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff

# release builds the files of a release in build/release. The same commit and tag give the same
# bytes; see docs/releasing.md.
release:
	rm -rf build/release
	$(GO) run ./internal/dev/release -version '$(VERSION)' -commit '$(COMMIT)' -tags 'lambda.norpc $(TAGS)' -out build/release

# deps installs the servers that the tests start, from Debian's packages if run as root, and AWS's
# clients from PyPI.
deps:
	@scripts/deps.sh servers
	@scripts/deps.sh aws

# deps-mysql and deps-next unpack servers that this Debian lacks into a cache.
deps-mysql:
	@scripts/deps.sh mysql

deps-next:
	@scripts/deps.sh next

# deps-cdk installs Node.js with npm, which fetches the CDK.
deps-cdk:
	@scripts/deps.sh npm

# deps-jest installs Node.js with npm, which fetches Jest.
deps-jest: deps-cdk

# deps-terraform only checks for Terraform.
deps-terraform:
	@scripts/deps.sh terraform

# deps-sam installs the SAM CLI and, if none is running, Docker.
deps-sam:
	@scripts/deps.sh sam

# deps-docker installs Docker if none is running, and AWS's clients.
deps-docker:
	@scripts/deps.sh docker
	@scripts/deps.sh aws

clean:
	rm -rf build .aws-sam
