package engine

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// volumes reads -v, --mount and --tmpfs.
func (c *Command) volumes(l *line) ([]Volume, error) {
	var out []Volume
	for _, text := range l.all("volume") {
		v, err := c.bind(text)
		if err != nil {
			return nil, err
		}
		if v.Source != "" { // a volume without a source is the container's own directory
			out = append(out, v)
		}
	}
	for _, text := range l.all("mount") {
		v, err := c.mount(text)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	for _, text := range l.all("tmpfs") {
		target, _, _ := strings.Cut(text, ":")
		out = append(out, Volume{Target: target})
	}
	for _, v := range out {
		if !filepath.IsAbs(v.Target) || strings.ContainsAny(v.Source+v.Target, "\x00\n") {
			return nil, usagef("a volume's place in the container is to be an absolute path, not %q", v.Target)
		}
		if filepath.Clean(v.Target) == "/" {
			return nil, usagef("nothing can be mounted over / of a container")
		}
	}
	return out, nil
}

// bind reads SOURCE:TARGET[:OPTIONS]. A source without a slash names a volume.
func (c *Command) bind(text string) (Volume, error) {
	parts := strings.Split(text, ":")
	v := Volume{Source: parts[0], Make: !c.podman()}
	switch len(parts) {
	case 1:
		return Volume{Target: parts[0]}, nil
	case 2, 3:
		v.Target = parts[1]
	default:
		return v, usagef("volume %q has too many colons", text)
	}
	if len(parts) == 3 {
		known := strings.Fields("ro rw z Z U cached delegated consistent nocopy copy private rprivate slave rslave shared rshared bind rbind exec noexec suid nosuid dev nodev O")
		for word := range strings.SplitSeq(parts[2], ",") {
			if !slices.Contains(known, word) || word == "O" {
				return v, usagef("option %q of volume %q is not understood", word, text)
			}
			v.ReadOnly = v.ReadOnly || word == "ro"
		}
	}
	return v, c.source(&v)
}

// source makes a path of the machine absolute and checks the name of a volume.
func (c *Command) source(v *Volume) error {
	if strings.HasPrefix(v.Source, "/") || strings.HasPrefix(v.Source, ".") {
		v.Source = filepath.Clean(c.path(v.Source))
		return nil
	}
	v.Make = true
	return checkContainer(v.Source)
}

// mount reads --mount type=bind,source=S,target=T[,readonly].
func (c *Command) mount(text string) (Volume, error) {
	var v Volume
	kind := "volume"
	for word := range strings.SplitSeq(text, ",") {
		key, value, given := strings.Cut(word, "=")
		switch key {
		case "type":
			kind = value
		case "source", "src":
			v.Source = value
		case "target", "destination", "dst":
			v.Target = value
		case "readonly", "ro":
			on, err := strconv.ParseBool(value)
			v.ReadOnly = !given || err == nil && on
		case "relabel", "consistency", "bind-propagation", "z", "Z", "tmpfs-size", "tmpfs-mode", "rw":
		default:
			return v, usagef("%q of --mount %q is not understood", key, text)
		}
	}
	switch {
	case kind == "tmpfs":
		return Volume{Target: v.Target}, nil
	case kind != "bind" && kind != "volume":
		return v, usagef("type %s of --mount is not understood; bind, volume and tmpfs are", kind)
	case v.Source == "":
		return v, usagef("--mount %q names no source", text)
	case kind == "bind":
		v.Source = filepath.Clean(c.path(v.Source))
		return v, nil
	}
	v.Make = true
	return v, checkContainer(v.Source)
}
