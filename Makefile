# The two commands of the README are `make demo` and `make test`.

GO      ?= go
BINARY  := bin/sidekey
SIDECAR := bin/sidekey-sidecar
STATIC  := -s -w -linkmode external -extldflags -static

.PHONY: all build sidecar setup demo dev test test-versions bench fuzz fmt clean

all: build

build:
	$(GO) build -trimpath -o $(BINARY) .

# The sidecar image's binary: no PKCS#11 code, linked statically.
sidecar:
	$(GO) build -trimpath -tags sidecar,netgo,osusergo -ldflags '$(STATIC)' -o $(SIDECAR) .

setup:
	@deploy/setup.sh

demo: setup build
	@S3=$(S3) deploy/demo.sh

dev: setup build
	@$(BINARY) dev

test: setup
	@e2e/test.sh

# All tests of the PostgreSQL proxy on 13, 14, 16, 17 and 18; `make test` has a selection.
test-versions: setup
	@e2e/postgres/test.sh all

bench: setup
	@e2e/bench/bench.sh

# Fuzzes every target for FUZZTIME each.
FUZZTIME ?= 30s
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

fmt:
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin
