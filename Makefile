# make run    builds dibber and a bootable Debian image
# make test   runs every test
# Both install what they need with apt when run as root, else they name it.

TAGS    := containers_image_openpgp,exclude_graphdriver_btrfs,netgo,osusergo
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME := 10s
BOOTS   := 2
BIG     := ^Test(MillionSmallFiles|HugeFileComesBack|ExtentTreesAsDeepAsFilesMakeThem|VolumeOfEightTebibytesHoldsAFileOfSix|SizesAndBlockSizesPassTheCheck|FactsAreThoseOfMke2fs|TypesAreThoseOfMke2fsAtEverySize|SuitePassesTheCheck|SizesAreThoseOfMkfs|NeedIsWhatPlanTakes)$$
export CGO_ENABLED := 1

.PHONY: build run test check unit race fuzz slow boots same-tree pods library library-quick image manifests test-kubernetes upstream big bench clean

build:
	hack/need build
	go build -tags $(TAGS) -trimpath -ldflags '-X main.version=$(VERSION)' -o dibber ./cmd/dibber

run: build
	hack/need run
	hack/run ./dibber

# The first use every processor. The builds and boots wait much, so two go at a time;
# what they need is installed, and their user made, before.
test: check unit race fuzz pods manifests
	hack/need build test library
	hack/as-user true
	$(MAKE) --jobs 2 --output-sync=target BOOTS=1 slow boots same-tree library-quick upstream

check: # form of the sources
	hack/need build check
	hack/check $(TAGS)

unit: # everything that takes seconds
	hack/need build unit
	go test -timeout 20m -tags $(TAGS) ./...

# What is compared with programs of others has been compared by unit.
race: # the packages that need no container, under the race detector
	go test -race -tags $(TAGS) -skip 'Mke2fs|Qemu|Tools|Check$$|GRUB|Grub|Mkfs|Sfdisk|Sgdisk|Podman' $$(hack/pure)

fuzz: # every reader of images, layers, archives and index pages, FUZZTIME each
	hack/need build
	hack/fuzz $(TAGS) $(FUZZTIME)

slow: # a real build, judged and booted, as an ordinary user
	hack/need build test
	hack/slow $(TAGS)

boots: # every boot loader, file systems and volume groups in machines of their own
	hack/need test
	hack/boots $(TAGS) $(BOOTS)

big: # the largest volumes: a million files, 8 TiB; minutes, and 10 GB of room
	hack/need build unit
	DIBBER_BIG=1 go test -tags $(TAGS) -count=1 -timeout 60m -v -run "$(BIG)" ./pkg/fsys/...

same-tree: build # the same tree for a user, for root and in a pod; needs root
	hack/need test
	hack/same-tree ./dibber

pods: # builds with the settings that pods have; needs root
	hack/need build pods
	hack/pods $(TAGS)

manifests: # contrib's objects, before a real API server where hack/cluster/build has been run
	hack/need manifests
	hack/manifests

test-kubernetes: build # builds in pods of a real cluster; needs root
	hack/need build test unit manifests kubernetes
	hack/test-kubernetes ./dibber $(TAGS)

image: build # dibber's own image, by dibber, podman and buildah
	hack/need build image
	hack/image ./dibber

library-quick: # every element's own test, on the newest release of Debian
	hack/need build test library
	hack/library $(TAGS) quick

library: # every element, built, checked and booted on each release of Debian
	hack/need build test library
	hack/library $(TAGS)

upstream: # diskimage-builder's own elements, where DIBBER_UPSTREAM names a checkout
	hack/need build test
	hack/upstream $(TAGS)

bench: build # against diskimage-builder and against the storage tools; needs root
	hack/need bench run
	hack/bench/diskimage-builder ./dibber
	hack/bench/storage ./dibber

clean:
	rm -rf dibber out
