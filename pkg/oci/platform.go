package oci

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Architecture gives the name that OCI images use for an architecture, which
// may be written as Debian, the kernel or Go does; "" is this machine's. Names that are
// not known stay as they are.
func Architecture(name string) string { return platform(name).Architecture }

// platform is Architecture with the variant that a name implies (armhf is
// arm/v7) or gives ("arm/v6").
func platform(name string) v1.Platform {
	p := v1.Platform{OS: "linux", Architecture: name}
	name = strings.TrimPrefix(name, "linux/")
	name, p.Variant, _ = strings.Cut(name, "/")
	p.Architecture = name
	switch name {
	case "":
		p.Architecture = runtime.GOARCH
	case "x86_64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686":
		p.Architecture = "386"
	case "ppc64el":
		p.Architecture = "ppc64le"
	case "mips64el":
		p.Architecture = "mips64le"
	case "armhf", "armv7l":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v5"
	}
	return p
}

// platformError tells that an image is not made for the wanted platform.
type platformError struct {
	have []string
	want string
}

func (e *platformError) Error() string {
	return fmt.Sprintf("it has %s; wanted %s", strings.Join(e.have, ", "), e.want)
}

// choose gives the entry of an index that fits best. Entries for no platform,
// such as attestations, do not count.
func choose(manifests []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	var fitting []v1.Descriptor
	var have []string
	for _, d := range manifests {
		p := d.Platform
		if p == nil || p.Architecture == "unknown" || d.MediaType != "" && !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
			continue
		}
		have = append(have, strings.TrimSuffix(p.String(), ":"+p.OSVersion))
		if p.OS == want.OS && p.Architecture == want.Architecture && fits(p.Variant, want) {
			fitting = append(fitting, d)
		}
	}
	if len(fitting) > 0 {
		// Of several the newest variant is best: arm/v7 before arm/v6, and
		// arm64/v8 is arm64.
		slices.SortStableFunc(fitting, func(a, b v1.Descriptor) int {
			return strings.Compare(b.Platform.Variant, a.Platform.Variant)
		})
		return fitting[0], nil
	}
	if len(have) == 0 {
		return v1.Descriptor{}, errors.New("it has no image for any platform")
	}
	slices.Sort(have)
	return v1.Descriptor{}, &platformError{slices.Compact(have), want.String()}
}

// fits tells whether a machine of the wanted kind runs a variant. arm's
// variants include the older ones; amd64's v2 to v4 need more than is asked for
// unless they are asked for.
func fits(variant string, want v1.Platform) bool {
	switch {
	case variant == want.Variant, variant == "":
		return true
	case want.Architecture == "arm":
		return want.Variant == "" || variant <= want.Variant
	case want.Architecture == "arm64":
		return want.Variant == "" && variant == "v8"
	}
	return false
}

// checkPlatform refuses an image that its own config says is for another one.
func checkPlatform(c *v1.ConfigFile, want v1.Platform) error {
	if c.Architecture == "" || c.Architecture == want.Architecture && (c.OS == "" || c.OS == want.OS) && fits(c.Variant, want) {
		return nil
	}
	return &platformError{[]string{c.Platform().String()}, want.String()}
}
