# Everything here works from a fresh clone with Go and git; as root on Debian it
# also installs the servers that the tests use.
GO       ?= go
# lambda.norpc leaves the runtime of go1.x out of the function.
FUNCTION := CGO_ENABLED=0 $(GO) build -trimpath -tags lambda.norpc -ldflags '-s -w'

.PHONY: build build-RotatorFunction demo test bench lint deps deps-mysql deps-valkey clean

# build makes the function and the tool for this machine.
build:
	$(FUNCTION) -o build/bootstrap ./cmd/rotator
	CGO_ENABLED=0 $(GO) build -trimpath -o build/rotatorctl ./cmd/rotatorctl

# build-RotatorFunction is what `sam build` calls, with the folder to fill. SAM
# does not say for which processor: arm64 is the template's default, and
# `GOARCH=amd64 sam build` goes with Architecture=x86_64.
build-RotatorFunction:
	GOOS=linux GOARCH=$${GOARCH:-arm64} $(FUNCTION) -o $(ARTIFACTS_DIR)/bootstrap ./cmd/rotator

demo: build
	$(GO) run ./internal/demo

test: deps
	$(GO) test -race -timeout 13m ./...

# bench prints the cost of a rotation; the figures are measured, not asserted.
bench: build
	$(GO) run ./internal/bench

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) mod tidy -diff

# deps: the servers that the tests start, by Debian's packages where root.
deps:
	@scripts/deps.sh servers

# deps-mysql, deps-valkey: servers that this Debian lacks, unpacked into a cache.
deps-mysql:
	@scripts/deps.sh mysql

deps-valkey:
	@scripts/deps.sh valkey

clean:
	rm -rf build .aws-sam
