# SPDX-License-Identifier: Apache-2.0
# `make` alone prints the targets. CI calls these and nothing else.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Development tools have a module of their own, so that what they depend on does
# not get into ours.
TOOL := $(GO) tool -modfile=tools/go.mod

# Files behind these build tags are vetted and linted like all others.
TAGS := reallvm,controlplane,page,conformance,e2e,soak

TEST_LVM := $(GO) run ./lvm/lvmtest/microvm/test-lvm
DEMO     := $(GO) run ./e2e/demo
BENCH    := $(GO) run ./e2e/bench

# The control plane of the simulator is a module of its own. Without cgo, as it is
# built, so that Kubernetes is compiled once.
CONTROL_PLANE := cd sim/controlplane && CGO_ENABLED=0 GOWORK=off

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps build image release release-push check check-format check-vet check-lint check-workflows \
	check-rules check-generated check-chart check-modules fmt test test-enumerations test-differential test-lvm \
	controlplane test-control-plane sim-build sim sim-all sim-large sim-kind sim-conformance test-page page-library demo demo-image e2e-vm e2e-vm-short e2e-kind e2e-kind-short e2e-kind-here soak e2e-upstream bench-memory bench-publish bench-create \
	bench-create-modes bench-pods clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages of tools/packages.txt; without root, say what is missing
	@tools/deps.sh

build: ## build the programs into bin/, static and stamped with the version
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

# ARCH: amd64, arm64; the image is for ctr images import, docker load, kind load image-archive.
image: ## podlv's image from Debian packages into out/podlv-ARCH.tar, without a container engine; IMAGE=NAME:TAG
	tools/image.sh $(or $(ARCH),$(shell $(GO) env GOARCH)) out/podlv-$(or $(ARCH),$(shell $(GO) env GOARCH)).tar $(IMAGE)

# What comes out is in out/release; tools/release.sh says what it is.
release: ## all that a release consists of, VERSION=1.2.3, without publishing anything
	tools/release.sh '$(VERSION)' out/release

release-push: ## push image and chart of make release to REGISTRY, ghcr.io/podlv say
	tools/release-push.sh out/release $(or $(REGISTRY),$(error REGISTRY is not set: to where?))

check: check-format check-vet check-lint check-workflows check-rules check-generated check-chart check-modules ## formatting, vet, staticcheck, workflows, house rules, generated files, the chart, go.mod
	@echo "check: OK"

check-format:
	@files=$$($(TOOL) gofumpt -l .) || exit 1; \
	test -z "$$files" || { echo "not formatted (make fmt does it):"; echo "$$files"; exit 1; }

check-vet:
	$(GO) vet -tags=$(TAGS) ./...
	$(CONTROL_PLANE) $(GO) vet ./...

check-lint:
	$(TOOL) staticcheck -tags=$(TAGS) ./...
	staticcheck=$$($(TOOL) -n staticcheck) && $(CONTROL_PLANE) $$staticcheck ./...

# Without shellcheck and pyflakes: what is found must not depend on what a
# machine happens to have.
check-workflows:
	$(TOOL) actionlint -shellcheck= -pyflakes= .github/workflows/*.yml

check-rules:
	$(GO) test -count=1 .

# Compares the working tree with itself, not with the last commit, so that it can
# be run before committing.
check-generated:
	@list() { find . -type f -not -path './.git/*' -not -path './bin/*' -not -path './out/*' -exec sha256sum {} + | sort -k 2; }; \
	before=$$(mktemp) && after=$$(mktemp) && trap 'rm -f "$$before" "$$after"' EXIT && \
	list >"$$before" && $(GO) generate ./... && list >"$$after" && \
	diff "$$before" "$$after" || { echo "generated files are not current: commit what go generate ./... changed"; exit 1; }

# helm lint and the renderings are part of check-generated.
check-chart: ## what the Helm chart refuses, and what it renders to
	deploy/refuse.sh
	$(GO) test -count=1 ./deploy

check-modules:
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd tools/release && $(GO) mod tidy -diff
	cd e2e/tools/helm && $(GO) mod tidy -diff
	cd sim/controlplane && $(GO) mod tidy -diff

fmt: ## format all Go files
	$(TOOL) gofumpt -w .

# -count=1: every run really runs. -shuffle: no test may lean on another. What goes
# through all points or states of something is thinned out under the race detector:
# test-enumerations has all of them, without it. -p 4: some wait more than they work.
test: ## all tests that need neither root nor LVM, with the race detector
	$(GO) test -race -p 4 -count=1 -shuffle=on -timeout=15m ./...

test-enumerations: ## every crash point, state and recorded session, of which make test has some
	$(GO) test -count=1 -timeout=5m -run 'CrashPoint|IsExact|EveryKind|Recorded' ./driver ./fakelvm

test-differential: ## the fake against real lvm2, COMMANDS (500) random steps from SEED (4), as root
	$(TEST_LVM) -run 'TestDifferential$$' ./fakelvm -- -differential.commands=$(or $(COMMANDS),500) -differential.seed=$(or $(SEED),4)

# MODE is auto, host or microvm: the host's own device-mapper where there is one.
test-lvm: ## the contract suite and the driver on real lvm2, as root
	$(TEST_LVM) -timeout 30m $(if $(MODE),-mode $(MODE))

controlplane: ## build the simulator's control plane into ~/.cache/podlv/bin, once
	@sim/controlplane/build.sh

# The tests of the parts that Kubernetes is not linked into, then the whole.
test-control-plane: controlplane ## a real scheduler and controllers: by themselves, and with agents of fake nodes
	cd sim/controlplane && $(GO) test -race -count=1 -shuffle=on ./supervise
	$(GO) test -race -count=1 -shuffle=on -v -timeout=10m -tags=controlplane ./sim/kube
	$(GO) test -race -count=1 -v -timeout=10m -tags=controlplane -run '^TestControlPlane' ./driver ./driver/admission ./driver/controller ./sim ./sim/importer ./sim/fit

sim-build: controlplane
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/podlv-sim

sim: sim-build ## run SCENARIO (first-steps) on a real control plane over fake nodes
	bin/podlv-sim run $(or $(SCENARIO),first-steps)

sim-all: sim-build ## run every scenario that ships but the two largest
	tools/sim-all.sh

sim-large: sim-build ## run the two largest scenarios: 100 and 1,000 nodes with 10,000 pods each
	bin/podlv-sim run hostpath-10000
	bin/podlv-sim run large-1000

# KIND_NODE_IMAGE is the image of the nodes, in place of kind's own.
sim-kind: ## first-steps and topolvm-117 on kind: real kubelets, fake LVM; needs a container engine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/podlv ./cmd/podlv-sim
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/fakelvm ./fakelvm/lvm
	bin/podlv-sim run $(or $(SCENARIO),first-steps) --target kind --out out/kind
	$(if $(SCENARIO),,bin/podlv-sim run topolvm-117 --target kind --out out/kind)

test-page: ## the page of a simulation's results, in headless chromium
	$(GO) test -count=1 -timeout=5m -tags=page -run '^TestPage' ./sim/report

# The library is committed, so that go build needs no npm. Its version is in
# tools/page/package.json; npm ci holds what it gets to the hashes of the lock file.
page-library: ## fetch the library that draws the page's charts anew, with npm
	cd tools/page && npm ci --ignore-scripts --no-audit --no-fund
	cp tools/page/node_modules/uplot/LICENSE tools/page/node_modules/uplot/dist/uPlot.iife.min.js tools/page/node_modules/uplot/dist/uPlot.min.css sim/report/page/uplot/
	rm -rf tools/page/node_modules

# The two run beside each other: most of it is waiting.
CONFORMANCE := out/conformance
sim-conformance: controlplane ## the fake kubelet against a real one, call by call, as root
	$(GO) build -o $(CONFORMANCE)/real ./e2e/conformance
	$(GO) test -c -tags=conformance -o $(CONFORMANCE)/fake ./sim/conformance
	$(CONFORMANCE)/real -check
	@$(CONFORMANCE)/real -out $(CONFORMANCE)/real.json & real=$$!; \
	$(CONFORMANCE)/fake -test.timeout=10m -conformance.fake=$(CONFORMANCE)/fake.json; fake=$$?; \
	wait $$real && exit $$fake
	@$(CONFORMANCE)/fake -test.v -conformance.replay -conformance.fake=$(CONFORMANCE)/fake.json -conformance.real=$(CONFORMANCE)/real.json

demo: ## pods with inline volumes on a real kubelet and real LVM, as root
	$(DEMO)

demo-image: ## the demo with the image that make image makes, as root
	tools/image.sh $(shell $(GO) env GOARCH) out/podlv-demo.tar podlv.dev/podlv:lab
	$(DEMO) -image out/podlv-demo.tar

# TESTS is a regular expression for their names.
e2e-vm: ## podlv on a cluster of three microVMs, real kubelets and real LVM, as root
	$(GO) test -tags=e2e -count=1 -v -timeout=90m $(if $(TESTS),-run '$(TESTS)') ./e2e/suite

# Each kind of volume, what each layer refuses, a power cut, a snapshot under load and an
# adopted LV: what takes minutes, and sees most.
E2E_SHORT := TestEveryKindOfVolume|TestWhatAPodMayNotSay|TestFullNodeLetsPodsWait/inline|TestPowerCut|TestSnapshotUnderLoad/ssd|TestAdoptedVolumes

e2e-vm-short: ## the part of e2e-vm that is part of .ci/run
	$(MAKE) e2e-vm TESTS='$(E2E_SHORT)'

# KIND_NODE_IMAGE is the image of the nodes, in place of kind's own. What kind has not is
# skipped with the reason (e2e/suite/features_test.go).
e2e-kind: ## the same tests on kind: real kubelets, fake LVM on loop devices; needs a container engine
	$(GO) test -tags=e2e -count=1 -v -timeout=90m $(if $(TESTS),-run '$(TESTS)') ./e2e/suite -args -kind

# A machine without a container engine and a registry gets both here, as root.
e2e-kind-short: ## the part of e2e-kind that is part of .ci/run, with an engine and a node image of its own making
	e2e/tools/kind/engine.sh $(MAKE) e2e-kind-here TESTS='$(E2E_SHORT)'

e2e-kind-here: # e2e-kind with a node image that is made here
	KIND_NODE_IMAGE=$$(e2e/tools/kind/node-image.sh) && export KIND_NODE_IMAGE && $(MAKE) e2e-kind

# SEED repeats the choices of another soak; KIND=1 soaks on kind.
soak: ## volumes of all kinds come and go for MINUTES (10) while everything fails at random, as root
	$(GO) test -tags=e2e,soak -count=1 -v -timeout=$$(( $(or $(MINUTES),10) + 60 ))m -run '^TestSoak$$' ./e2e/suite \
		-args $(if $(KIND),-kind) -out=$(CURDIR)/out/soak -soak.minutes=$(or $(MINUTES),10) $(if $(SEED),-soak.seed=$(SEED))

# FOCUS is a regular expression for names of tests, CLASS is thick or thin.
e2e-upstream: ## Kubernetes' own storage suite on real kubelets and real LVM, as root
	$(GO) run ./e2e/upstream $(if $(FOCUS),-focus '$(FOCUS)') $(if $(CLASS),-class $(CLASS))

bench-memory: controlplane ## the agent's memory with 200 volumes and 10,000 claims of others, as root
	$(GO) test -tags=controlplane -run '^$$' -bench '^BenchmarkMemory$$' -benchtime 1x -timeout 20m ./cmd/podlv

bench-publish: ## publish and unpublish against the bare lvm commands, as root
	$(BENCH)

# The starts of 250 pods one by one, and of a hundred at once, twice: 51 minutes.
bench-pods: ## from a pod's making until it runs, with each kind of volume, on real kubelets and real LVM, as root
	$(GO) test -tags=e2e -count=1 -run '^$$' -bench '^BenchmarkPod' -benchtime 1x -timeout 120m ./e2e/suite -args -nodes 2

bench-create: ## create and delete volumes of claims against the bare lvm commands, as root
	$(BENCH) -claims

bench-create-modes: controlplane ## what each inlinePool adds to a create, with a real API server
	$(GO) test -tags=controlplane -count=1 -run '^$$' -bench '^BenchmarkControlPlaneCreate$$' -benchtime 100x -timeout 10m ./driver

clean: ## remove what the other targets made in this folder
	rm -rf bin out
