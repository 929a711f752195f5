# make help says what there is.

GOLANGCI_LINT_VERSION := v2.15.0

# Packages with tests that -short or -race leave out, most of them on real servers; the longest first.
LONG := ./cmd/hallmark ./imager ./internal/pipeline ./internal/environment ./internal/cloud/incus ./internal/base \
	./verifier ./internal/soak ./internal/cloud/ec2 ./internal/cloud/ec2/... ./internal/remote

# The race detector watches our code and not SQLite, which is C made into Go and would be some fifty times
# slower. AWS' SDK takes minutes to compile once more for it. The command line's scripts go through whole
# nights; the pipeline's own tests are run with it.
UNWATCHED := -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
RACE = $(shell go list ./... 2>/dev/null | grep -v -e /cmd/hallmark$$ -e /cloud/ec2)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: host build ## one complete nightly run of the reference product (configs/acme) on this machine
	configs/demo.sh

.PHONY: test
test: host build base moto vet ## all tests with the race detector, also those on real servers (45 minutes on 2 cores)
	go test -race $(UNWATCHED) -short -timeout 20m $(RACE)
	go test -p 2 -timeout 50m $(LONG)
	go test ./cmd/hallmark-probe # goss has a data race of its own, so one test is not for -race

.PHONY: check
check: vet ## quick: formatting, go vet, and the tests that need neither root nor servers
	go test -short ./...

.PHONY: vet
vet: go
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "gofmt these files: $$bad" >&2; exit 1; }
	go vet ./...

.PHONY: lint
lint: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## golangci-lint with the import rules of docs/design.md; docs/dependencies.md against go.mod
	$< run ./...
	go test ./docs

# Built here rather than fetched ready-made, with the Go that builds the project.
bin/golangci-lint-$(GOLANGCI_LINT_VERSION): | go
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

.PHONY: bench
bench: base ## image builds and environments against the same work by hand, idle memory: as ratios; calls to EC2; 2,000 random histories
	go test -p 1 -run '^$$' -bench 'IdleDaemon|Image|Environment' -benchtime 1x -timeout 90m ./cmd/hallmark ./imager ./internal/environment
	go test -run 'TestCalls|TestManyEnvironments' -v -timeout 30m ./internal/cloud/ec2 -environments 200
	go test -run TestHistories -timeout 3h ./internal/pipeline -histories 2000 -history-seed $(HISTORY_SEED)

# Seed of the first of the random histories.
HISTORY_SEED = 1

# The seed makes the load. Finished runs of the present code are not done again.
SOAK_SEED = 1
SOAK_SMALL = 20
SOAK_ACME = 3
SOAK_PLANTS = 5
SOAK_AT_ONCE = 3
SOAK_LOCKOUTS = $(LOCKOUTS)

LOCKOUTS = go test -count 1 -timeout 50m -v -run TestRealLockouts ./internal/environment -lockouts

.PHONY: faults
faults: base ## every lock-out of admins and a hostile product on real servers; kills and restarts the Incus of this machine (30 minutes)
	$(LOCKOUTS)
	go test -count 1 -timeout 20m -v -run TestIncusIsKilled ./internal/cloud/incus -faults
	go test -count 1 -timeout 60m -v -run TestHostileRun ./cmd/hallmark -faults

.PHONY: soak
soak: base ## nightly runs again and again on a loaded machine, and planted defects: hours; goes on where it stood
	go build -o bin/soak ./internal/soak
	bin/soak --seed $(SOAK_SEED) --small $(SOAK_SMALL) --acme $(SOAK_ACME) --plants $(SOAK_PLANTS) --at-once $(SOAK_AT_ONCE) --lockouts '$(SOAK_LOCKOUTS)'

.PHONY: build
build: go ## bin/hallmark and bin/hallmark-probe
	go build -o bin/hallmark ./cmd/hallmark
	CGO_ENABLED=0 go build -ldflags '-s -w' -o bin/hallmark-probe ./cmd/hallmark-probe

# Tests on real servers launch them from the reference base.
.PHONY: base
base: host build ## a reference base in Incus, unless there is one that is fresh enough
	bin/hallmark --state-dir .state/host --product-repository . base build

.PHONY: moto
moto: bin/moto/requirements.txt ## moto, the second opinion on EC2, and AWS CLI, in a Python environment of their own

# Debian's Python, for which the wheels were chosen. The list is copied last: it is there when all of it is.
bin/moto/requirements.txt: internal/cloud/ec2/moto/requirements.txt | host
	rm -rf bin/moto
	/usr/bin/python3 -m venv bin/moto
	bin/moto/bin/pip install --quiet --only-binary :all: --require-hashes --requirement $<
	cp $< $@

.PHONY: host
host: ## make this machine a host: Incus, its storage pool, the package cache (Debian 12, root)
	configs/host/setup.sh

.PHONY: go
go:
	@command -v go >/dev/null || { echo 'Go is not installed; go.mod says which version is needed' >&2; exit 1; }
