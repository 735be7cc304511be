# An index of commands: each works by hand too. It needs Go; what else a target needs, it fetches or names.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
CYCLONEDX = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME ?= 30s
FUZZ ?= ^Fuzz
HOSTILETIME ?= 10m

# The tests of what must not get past, in the packages that have them. $(call counted,COMMAND) runs one that is verbose, and shows its counts
# and what failed.
hostile = '^Test(Hostile|Sweep|Differential|Alike|CostOfHostility|MistypedCosts|ForgedLog|TokensDoNotPrint)'
hostile_in = ./authz/... ./envoy ./cmd/postern
counted = { $(1) || echo FAIL; } | awk '/_test.go:/ || /^--- FAIL/ || /^(ok|FAIL|panic)/ { print } /^[ ]*--- FAIL/ || /^(FAIL|panic)/ { bad = 1 } END { exit bad }'

# $(call need,TEST,PACKAGES,WHY): installs Debian packages where TEST fails, root may, and there is apt-get; elsewhere it says what to do.
need = { $(1); } >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install $(2); } \
	|| { echo "make $@: $(3): as root, run: apt-get update && apt-get install -y $(2)   (or install the like by other means)" >&2; exit 1; }

# Whether compose-test can run: an engine answers, or root may start one in namespaces of its own.
engine = docker version >/dev/null 2>&1 \
	|| { [ -z "$$DOCKER_HOST" ] && [ "$$(id -u)" = 0 ] && unshare --mount --net --pid --fork true && { command -v dockerd || command -v apt-get; }; } >/dev/null 2>&1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

# Not by `go run`: it does not pass SIGTERM on, and the demo stops what it started.
.PHONY: demo
demo: envoy ## shows the gate at work on this machine, and ends; KEEP=1 keeps it running, to be tried
	@go build -buildvcs=false -o bin/demo ./cmd/demo
	@KEEP='$(KEEP)' exec bin/demo

.PHONY: test
test: envoy redis prometheus chromium axe compiler lint ## all tests, on real Envoy, Redis, Prometheus and Chromium; with the compose file's where a container engine can run
	go test -race -timeout 10m -skip $(hostile) $$(go list ./... | grep -v /deploy$$)
	go test -count=1 -timeout 10m ./deploy # alone: it runs whole programs, and watches their clocks
	go test -count=1 -run '^Test((Decision|Check)(Allocates|Calls|Bytes)|Memory|RemoveFast)$$' -v ./authz ./authz/fields ./cache ./envoy # the race detector allocates, and takes time
	@$(call counted,go test -race -timeout 10m -count=1 -v -run $(hostile) $(hostile_in))
	go test -race -tags faults -timeout 10m -run Faults ./cmd/postern
	@$(MAKE) --no-print-directory deploy-test
	@if [ "$$POSTERN_DEMAND_ENGINE" = 1 ] || $(engine); then $(MAKE) --no-print-directory compose-test; \
	else echo "make test: NOT RUN: the compose file's test (make compose-test), as no container engine answers here and none can be started"; fi

# Modules of their own, so that Helm, Kubernetes, Grafana and the collector are no dependencies of the gate. -count=1: go test's cache does not see files outside of a module.
.PHONY: deploy-test
deploy-test: envoy redis ## the Helm chart: rendered, read into Kubernetes's types, and its containers' commands run; the dashboard, read into Grafana's; spans, sent to the OpenTelemetry collector's receiver
	cd deploy/check/helm && go vet ./... && go run $(STATICCHECK) ./... && go test -count=1 -timeout 10m ./...
	cd deploy/check/grafana && go vet ./... && go run $(STATICCHECK) ./... && go test -count=1 ./...
	cd deploy/check/otel && go vet ./... && go run $(STATICCHECK) ./... && go test -count=1 ./...

.PHONY: chart-files
chart-files: ## copies what the Helm chart has of the rest of the repository into it
	cp envoy/envoy.yaml deploy/helm/postern/files/envoy.yaml
	@mkdir -p deploy/helm/postern/files/alerts && rm -f deploy/helm/postern/files/alerts/*.yaml
	@for file in deploy/alerts/*.yaml; do [ ! -e "$$file" ] || cp -v "$$file" deploy/helm/postern/files/alerts/; done

.PHONY: faults
faults: envoy redis ## what faults of the store and restarts do to requests, measured; random histories: some half an hour
	POSTERN_FAULTS=long go test -tags faults -count=1 -parallel 1 -timeout 60m -run Faults -v ./cmd/postern
	POSTERN_FAULTS=long go test -count=1 -timeout 60m -run Histories -v ./cache

.PHONY: mesh-render
mesh-render: ## what Istio and Envoy Gateway make of deploy/istio and deploy/envoy-gateway, for tests: minutes, the first time
	cd deploy/check/mesh && go vet . && go run .

.PHONY: bench
bench: envoy redis ## what a check costs, against a stock server, as ratios of one run, and by size: three minutes. Let nothing else run
	go test -run '^TestCheck(Allocates|Calls|Bytes)$$' -v ./envoy
	go test -run '^$$' -bench '^BenchmarkCost(BySize)?$$' -benchtime 1x -timeout 10m ./envoy
	go test -run '^$$' -bench '^Benchmark(Lookup|Authorize|Decision|Hot|Miss)$$' -benchmem ./authz ./cache ./envoy

.PHONY: bench-filter
bench-filter: envoy redis ## what the response filter adds to answers of 1 KB, 100 KB and 2 MB, through real Envoy: half a minute
	go test -run '^$$' -bench 'Filter|Unrestricted' -benchtime 300x ./envoy

# Fuzzing takes HOSTILETIME a target, on one core.
.PHONY: hostile
hostile: envoy redis ## what must not get past, at length: ten million requests, mutants, guards taken out, fuzzing: an hour and a half
	@$(call counted,POSTERN_DIFFERENTIAL=10000000 go test -count=1 -v -timeout 60m -run '^TestDifferential' ./authz)
	@$(call counted,POSTERN_ALIKE=100000 go test -tags hostile -count=1 -v -timeout 60m -run $(hostile) $(hostile_in))
	@$(call counted,go test -tags hostile -count=1 -v -timeout 120m -run '^Test(Guards|EnvoyGuards|Mutants|Flood)$$' ./envoy)
	@$(MAKE) --no-print-directory fuzz FUZZTIME='$(HOSTILETIME)' FUZZFLAGS='-parallel 1' FUZZ='^Fuzz\(Authorize\|Resolve\|ParseBearer\|Parse\|DecodeRecord\|Load\)$$'

# One commit and one version of Go give the same bytes in any folder, and in the image. Static, without paths and symbols; what `postern version`
# tells is set here, as the stamps of the Go command depend on how the sources came.
RELEASE ?= $(shell git describe --tags --exact-match --match 'v*' 2>/dev/null)
COMMIT ?= $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
go_build = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$(RELEASE) -X main.commit=$(COMMIT)"

.PHONY: build
build: ## bin/postern
	$(go_build) -o bin/postern ./cmd/postern

.PHONY: build-sidecar
build-sidecar: ## bin/postern-sidecar: the program without the management server, as the sidecar's image has it
	$(go_build) -tags noadmin,grpcnotrace -o bin/postern-sidecar ./cmd/postern

.PHONY: release
release: ## bin/release: the programs for servers, what each is made of, the licences and the checksums of all
	@[ -n "$(RELEASE)" ] || { echo "make release: this commit has no tag v*: tag it, or say RELEASE=vX.Y.Z" >&2; exit 1; }
	rm -rf bin/release && mkdir -p bin/release
	set -e; for arch in amd64 arm64; do \
		GOOS=linux GOARCH=$$arch $(go_build) -o bin/release/postern-linux-$$arch ./cmd/postern; \
		GOOS=linux GOARCH=$$arch $(go_build) -tags noadmin,grpcnotrace -o bin/release/postern-sidecar-linux-$$arch ./cmd/postern; \
	done
	set -e; for program in bin/release/*; do \
		go run $(CYCLONEDX) bin -json -noserial -notimestamp -version $(RELEASE) -output $$program.cdx.json $$program; \
	done
	deploy/licenses.sh > bin/release/LICENSES.txt
	cd bin/release && sha256sum * > SHA256SUMS

.PHONY: lint
lint: ## gofmt, vet and staticcheck
	@files=$$(gofmt -l .) && [ -z "$$files" ] || { echo "make lint: to be formatted with gofmt -w:" $$files >&2; exit 1; }
	go vet -tags compose,faults,hostile ./...
	go run $(STATICCHECK) -tags compose,faults,hostile ./...

.PHONY: compose-test
compose-test: ## the compose file's test, on the container engine that answers or, as root, one of its own
	@$(call need,command -v docker && { docker version || command -v dockerd; } && { docker compose version || command -v docker-compose; },docker.io docker-compose,docker or dockerd or docker-compose is missing)
	go test -tags compose -count=1 -timeout 20m -run Compose ./deploy

.PHONY: fuzz
fuzz: ## every fuzz test, each for FUZZTIME (30s)
	@go list ./... | while read -r package; do \
		listed=$$(go test -list '^Fuzz' "$$package") || { echo "$$listed"; exit 1; }; \
		for name in $$(echo "$$listed" | grep '$(FUZZ)'); do \
			echo "$$package $$name"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime '$(FUZZTIME)' $(FUZZFLAGS) "$$package" || exit 1; \
		done; \
	done

# It reads vuln.go.dev, so it is no part of `make test`: make it a step of your CI, where that can be reached.
.PHONY: vuln
vuln: ## known vulnerabilities in what the programs call
	go run $(GOVULNCHECK) ./...

.PHONY: envoy
envoy: ## fetches Envoy to .tools, unless this machine has it
	@deploy/get-envoy.sh .tools/envoy

.PHONY: redis
redis: ## installs redis-server, unless this machine has it
	@$(call need,command -v redis-server,redis-server,redis-server is missing)

.PHONY: prometheus
prometheus: ## installs prometheus and promtool, unless this machine has them: tests try the alerts and the dashboard with them
	@$(call need,command -v prometheus && command -v promtool,prometheus,prometheus or promtool is missing)

.PHONY: chromium
chromium: ## installs chromium, unless this machine has it: tests drive the management page with it
	@$(call need,command -v chromium,chromium,chromium is missing)

.PHONY: axe
axe: ## fetches axe-core to .tools: tests look with it for what keeps people out of a page
	@deploy/get-axe.sh .tools/axe.min.js

.PHONY: compiler
compiler: ## installs a C compiler, unless this machine has it: the race detector needs one
	@$(call need,command -v "$$(go env CC)",gcc libc6-dev,a C compiler is missing)
