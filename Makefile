# The two commands of the README are `make demo` and `make test`.

GO      ?= go
BIN     := bin/writ
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CORE    := . ./decide/... ./ledger/... ./store/... ./authority/... ./vault/... ./broker/... ./internal/...

.PHONY: demo build test check-full lint bench fuzz tools

build: ## the one binary
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/writ

demo: build ## the whole idea in a minute, offline
	$(BIN) demo

tools: ## what the tests drive: real clients and a real database
	scripts/install-test-tools

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck -checks 'SA*,U1000' ./...

test: tools lint ## everything but the slow suites; under 15 minutes on 2 cores
	$(GO) test -timeout 14m ./...
	$(GO) test -timeout 10m -race -short $(CORE)

check-full: test ## the slow suites: 10,000 races, 1,000 tunnels, 200 kills, a flood
	WRIT_FULL=1 $(GO) test -timeout 60m -count=1 -v -run 'Races|Tunnels|Cuts|Kill|Canary|Flood|Upload' ./cmd/writ

bench: ## ratios to a baseline measured in the same run, appended to docs/performance.md
	scripts/bench

fuzz: ## 60 seconds each
	scripts/fuzz 60s
