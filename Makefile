# make run   builds dibber and a bootable Debian image;  make test   runs every test.
# Both install what they need with apt when run as root, else they name it.

TAGS := containers_image_openpgp,exclude_graphdriver_btrfs,netgo,osusergo
GO   := CGO_ENABLED=1 go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: all build run test check unit race scripts build-test boot-test bench clean

all: build

build: dibber

dibber: FORCE
	hack/need build
	$(GO) build -tags $(TAGS) -trimpath -ldflags '-X main.version=$(VERSION)' -o $@ ./cmd/dibber

run: dibber
	hack/need run
	hack/run ./dibber

test: check unit race scripts build-test boot-test

check:
	hack/need check
	hack/check $(TAGS)

unit:
	hack/need unit
	$(GO) test -tags $(TAGS) ./...

race:
	$(GO) test -race -tags $(TAGS) $$(hack/pure)

clean:
	rm -rf dibber out

FORCE:
