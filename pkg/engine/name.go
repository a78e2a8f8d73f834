package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// checkImage refuses what is no name of an image: such names reach registries
// and the store. Names of other transports (oci:, docker-archive:), by which the
// libraries below read files, are refused, too; load reads archives.
func checkImage(name string) error {
	const (
		part   = `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`
		domain = `(?:` + part + `(?:\.` + part + `)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?`
		path   = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
		tag    = `(?::\w[\w.-]{0,127})?`
		digest = `(?:@[a-z0-9]+:[0-9a-f]{32,128})?`
	)
	pattern := regexp.MustCompile(`^(?:` + domain + `/)?` + path + `(?:/` + path + `)*` + tag + digest + `$`)
	bare := strings.TrimPrefix(name, "docker://")
	if len(bare) > 512 || !pattern.MatchString(bare) {
		return fmt.Errorf("%.100q is no name of an image; it should be like debian:12 or registry.example.org/team/image:tag", name)
	}
	transports := []string{"atomic", "containers-storage", "dir", "docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif", "tarball"}
	if before, _, found := strings.Cut(bare, ":"); found && slices.Contains(transports, before) {
		return fmt.Errorf("%.100q is no name of an image in a registry: %s: means another place, which is not read here (load reads archives)", name, before)
	}
	return nil
}

// checkContainer refuses what is no name of a container.
func checkContainer(name string) error {
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`).MatchString(name) {
		return fmt.Errorf("%.100q is no name of a container; letters, digits, _ . and - are allowed", name)
	}
	return nil
}

// isID tells whether a name can be an image's ID or the beginning of one.
func isID(name string) bool {
	return regexp.MustCompile(`^(?:sha256:)?[0-9a-f]{3,64}$`).MatchString(name)
}

// shown is how the program lists an image's full name: docker leaves away what
// it understands by itself.
func (c *Command) shown(name string) string {
	if c.podman() {
		return name
	}
	for _, prefix := range []string{"localhost/", "docker.io/library/", "docker.io/"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest
		}
	}
	return name
}

// splitTag parts the tag from a full name; a name by digest has none.
func splitTag(name string) (repository, tag string) {
	if at := strings.IndexByte(name, '@'); at >= 0 {
		return name[:at], "<none>"
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, "<none>"
}
