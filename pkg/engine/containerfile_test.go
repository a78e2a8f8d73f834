package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBasesAreTheImagesThatAContainerfileNames(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		options    BaseOptions
		want       []string
	}{
		{"one", "FROM debian:12\nRUN true", BaseOptions{}, []string{"debian:12@1"}},
		{"lower case, comments, blank lines", "# FROM no\n\n  from debian:12 as x\n", BaseOptions{}, []string{"debian:12@3"}},
		{"stages by name and number", "FROM a AS One\nFROM one\nCOPY --from=0 / /\nCOPY --from=ONE / /\nFROM scratch", BaseOptions{}, []string{"a@1"}},
		{"each once", "FROM a\nFROM a\nCOPY --from=a / /", BaseOptions{}, []string{"a@1"}},
		{"arguments", "ARG R=docker.io\nARG T\nFROM ${R}/x:${T:-1}\nFROM $R/y${T:+-slim}", BaseOptions{}, []string{"docker.io/x:1@3", "docker.io/y@4"}},
		{"given arguments", "ARG R=docker.io\nARG T\nFROM ${R}/x:${T:-1}\nFROM $R/y${T:+-slim}", BaseOptions{Args: map[string]string{"T": "9", "R": "quay.io"}}, []string{"quay.io/x:9@3", "quay.io/y-slim@4"}},
		{"an argument of a stage", "ARG A=1\nFROM x\nARG A\nARG B=$A\nCOPY --from=y:$B / /", BaseOptions{}, []string{"x@2", "y:1@5"}},
		{"not of a stage that does not ask", "ARG A=1\nFROM x\nCOPY --from=y$A / /", BaseOptions{}, []string{"x@2", "y@3"}},
		{"continued", "FROM \\\n  # comment\n  a:1 \\\n  AS b\nFROM b", BaseOptions{}, []string{"a:1@1"}},
		{"the other escape", "# escape=`\nFROM `\n a:1\nRUN c:\\\nFROM b", BaseOptions{}, []string{"a:1@2", "b@5"}},
		{"here-documents", "FROM a\nRUN <<EOF cat\nFROM no\nEOF\nCOPY <<-\"END\" /x\n\tFROM no\n\tEND\nFROM b", BaseOptions{}, []string{"a@1", "b@8"}},
		{"mounts", "FROM a\nRUN --mount=type=bind,from=b:1,target=/x --mount=type=cache,target=/y true", BaseOptions{}, []string{"a@1", "b:1@2"}},
		{"platforms", "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/arm/v7 b", BaseOptions{Platform: Platform{Arch: "s390x"}}, []string{"a@1", "b@2"}},
		{"the first replaced", "FROM a\nFROM b", BaseOptions{From: "c"}, []string{"c@1", "b@2"}},
		{"up to the target", "FROM a AS One\nCOPY --from=b / /\nFROM c\nCOPY --from=d / /", BaseOptions{Target: "one"}, []string{"a@1", "b@2"}},
		{"quotes", "FROM \"a:1\"", BaseOptions{}, []string{"a:1@1"}},
		{"nothing", "FROM\nFROM --platform=x\n\\\n", BaseOptions{}, nil},
		{"an open brace", "FROM a${B\n", BaseOptions{}, []string{"a@1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, b := range Bases(tt.text, tt.options) {
				got = append(got, fmt.Sprintf("%s@%d", b.Name, b.Line))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if b := Bases("FROM --platform=linux/arm/v7 b", BaseOptions{}); b[0].Platform != (Platform{"arm", "v7"}) {
		t.Errorf("%+v", b)
	}
}

func TestNamesOfImagesAreChecked(t *testing.T) {
	for _, name := range []string{"debian", "debian:12", "docker.io/library/debian:12", "localhost/x", "127.0.0.1:5000/a/b:c", "[::1]:5000/a", "quay.io/a__b/c-d.e:1.2_3", "x@sha256:" + strings.Repeat("0", 64), "docker://debian:12"} {
		if err := checkImage(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-x", "../x", "/x", "x/", "x//y", "UPPER", "a b", "a\nb", "x:", "x:-1", "oci:/x", "x@sha256:1", "oci:host", "docker-archive:a.tar", "docker://dir:x", "x:" + strings.Repeat("1", 129), "a/../b", "$(x)", "x\x00"} {
		if checkImage(name) == nil {
			t.Errorf("%q was let through", name)
		}
	}
}

// A Containerfile may hold anything; what is found in it are names with lines.
func FuzzBases(f *testing.F) {
	for _, text := range []string{"FROM a AS b\nCOPY --from=b / /", "# escape=`\nARG A=${B:-c}\nFROM $A", "FROM x\nRUN <<E\nE\n", "\\\n\\", "RUN\nARG\nCOPY --from=", "FROM a${b:+c}${d"} {
		f.Add(text, "1")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		lines := strings.Count(text, "\n") + 1
		for _, b := range Bases(text, BaseOptions{Args: map[string]string{"A": value}}) {
			if b.Name == "" || b.Line < 1 || b.Line > lines {
				t.Errorf("%+v", b)
			}
		}
	})
}

// A command line may hold anything: it is read or refused.
func FuzzCommandLine(f *testing.F) {
	f.Add("run\x00-it\x00--rm\x00-v\x00/a:/b:ro\x00image\x00sh")
	f.Add("build\x00-t\x00x\x00-f=-\x00--build-arg=A\x00-")
	f.Add("ps\x00-a\x00--format\x00{{.ID}}\x00--filter=name=x")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		for _, c := range []Command{{Program: "docker"}, {Program: "podman"}} {
			g := c.runGrammar("run")
			l, err := g.parse(args)
			if err != nil {
				continue
			}
			c.Dir, c.Getenv = "/", func(string) (string, bool) { return "", false }
			p, err := c.process(l, Config{Cmd: []string{"sh"}})
			if err != nil {
				continue
			}
			for _, v := range p.Volumes {
				if v.Target == "" || v.Target[0] != '/' {
					t.Errorf("%q: %+v", args, v)
				}
			}
		}
	})
}
