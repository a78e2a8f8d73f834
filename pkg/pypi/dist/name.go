// Package dist reads what distributions of Python packages say of themselves: the
// names of their files, the METADATA in wheels and sdists, what builds an sdist,
// and on which Pythons and machines a wheel runs.
//
// It fetches nothing, unpacks nothing to disk and runs nothing. Files are taken
// for hostile: no size in them is trusted.
package dist

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/version"
)

var (
	namePattern = regexp.MustCompile(`(?i)^([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])$`)
	separators  = regexp.MustCompile(`[-_.]+`)
	filePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+!~-]*$`)
)

// maxName bounds the names of projects and of files, as file systems do.
const maxName = 200

// ValidName tells whether a project may be called so.
func ValidName(name string) bool { return len(name) <= maxName && namePattern.MatchString(name) }

// Normalise gives the one spelling under which a project is kept: PEP 503's.
func Normalise(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// Name is what the name of a file tells.
type Name struct {
	File    string
	Project string // normalised
	Version version.Version
	Wheel   bool
	Build   string   // of a wheel; "" is older than any
	Tags    []string // of a wheel: "py3-none-any"
}

// sdistEndings are the archives of sources that pip reads.
var sdistEndings = []string{".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"}

// IsFile tells whether a distribution's file may be called so. What is no wheel
// and no archive of sources is none.
func IsFile(name string) bool {
	if len(name) > maxName || !filePattern.MatchString(name) {
		return false
	}
	return strings.HasSuffix(name, ".whl") || sdistStem(name) != ""
}

func sdistStem(name string) string {
	for _, ending := range sdistEndings {
		if stem, ok := strings.CutSuffix(name, ending); ok {
			return stem
		}
	}
	return ""
}

// ParseName reads the name of a file of the project, which decides where the name
// of an old sdist ends and its version begins. project may be "" for a wheel and
// for sdists named as they are today.
func ParseName(file, project string) (Name, error) {
	if !IsFile(file) {
		return Name{}, fmt.Errorf("%q is not the name of a wheel or an archive of sources", file)
	}
	n := Name{File: file}
	var err error
	if stem, ok := strings.CutSuffix(file, ".whl"); ok {
		n.Wheel, err = true, n.wheel(stem)
	} else {
		err = n.sdist(sdistStem(file), Normalise(project))
	}
	if err == nil && project != "" && n.Project != Normalise(project) {
		err = fmt.Errorf("%s is not of the project %s", file, project)
	}
	if err == nil && !ValidName(n.Project) {
		err = fmt.Errorf("%s names no project", file)
	}
	if err != nil {
		return Name{}, err
	}
	return n, nil
}

// wheel reads NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.
func (n *Name) wheel(stem string) error {
	parts := strings.Split(stem, "-")
	if len(parts) != 5 && len(parts) != 6 {
		return fmt.Errorf("%s: the name of a wheel has five or six parts", n.File)
	}
	v, err := version.Parse(strings.ReplaceAll(parts[1], "_", "-"))
	if err != nil {
		return fmt.Errorf("%s: %w", n.File, err)
	}
	n.Project, n.Version = Normalise(parts[0]), v
	if len(parts) == 6 {
		if n.Build = parts[2]; n.Build == "" || n.Build[0] < '0' || n.Build[0] > '9' {
			return fmt.Errorf("%s: %q is no number of a build", n.File, n.Build)
		}
	}
	return n.expandTags(parts[len(parts)-3:])
}

// maxTags bounds what a compressed set of tags becomes.
const maxTags = 1000

func (n *Name) expandTags(compressed []string) error {
	pythons, abis, platforms := strings.Split(compressed[0], "."), strings.Split(compressed[1], "."), strings.Split(compressed[2], ".")
	if len(pythons)*len(abis)*len(platforms) > maxTags {
		return fmt.Errorf("%s: too many tags", n.File)
	}
	for _, python := range pythons {
		for _, abi := range abis {
			for _, platform := range platforms {
				n.Tags = append(n.Tags, strings.ToLower(python+"-"+abi+"-"+platform))
			}
		}
	}
	return nil
}

// sdist reads NAME-VERSION, in which old names have hyphens of their own.
func (n *Name) sdist(stem, project string) error {
	for i := len(stem) - 1; i > 0; i-- {
		if stem[i] != '-' || project != "" && Normalise(stem[:i]) != project {
			continue
		}
		v, err := version.Parse(stem[i+1:])
		if err != nil {
			if project == "" {
				return fmt.Errorf("%s: %w", n.File, err)
			}
			continue
		}
		n.Project, n.Version = Normalise(stem[:i]), v
		return nil
	}
	return fmt.Errorf("%s names no version", n.File)
}
