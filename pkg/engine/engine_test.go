package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// store is an Images and Containers that notes what it is asked for.
type store struct {
	images     []Image
	containers []Container
	asked      []string
	created    Create
	built      Build
	copied     Copy
	status     int
	err        error
}

func (s *store) note(format string, args ...any) {
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
}

func (s *store) Images(context.Context) ([]Image, error) { return slices.Clone(s.images), nil }

func (s *store) Image(_ context.Context, name string, _ Platform) (Image, error) {
	for _, i := range s.images {
		if i.ID == name || slices.Contains(i.Names, name) || slices.Contains(i.Names, "localhost/"+name) {
			return i, nil
		}
	}
	return Image{}, &UnknownError{Kind: "image", Name: name}
}

func (s *store) Pull(_ context.Context, name string, p Platform) (string, error) {
	s.note("pull %s %s", name, p.Arch)
	s.images = append(s.images, Image{ID: "f00d" + name, Names: []string{name}, Config: Config{Cmd: []string{"sh"}}})
	return "f00d" + name, s.err
}

func (s *store) Build(_ context.Context, b Build, _ Streams) (string, error) {
	s.built = b
	return "b111", s.err
}

func (s *store) Commit(context.Context, Commit) (string, error) { return "c0de", s.err }

func (s *store) Import(context.Context, io.Reader, Import) (string, error) { return "1234", s.err }

func (s *store) Load(context.Context, io.Reader) ([]string, error) {
	return []string{"localhost/loaded:1"}, s.err
}

func (s *store) Save(_ context.Context, _ []string, _ string, to io.Writer) error {
	io.WriteString(to, "archive")
	return s.err
}

func (s *store) Tag(_ context.Context, image, name string) error {
	s.note("tag %s %s", image, name)
	return s.err
}

func (s *store) RemoveImage(_ context.Context, image string, _ bool) (Removed, error) {
	s.note("rmi %s", image)
	return Removed{Untagged: []string{"localhost/" + image}, Deleted: "abcd"}, s.err
}

func (s *store) Containers() ([]Container, error) { return s.containers, nil }

func (s *store) Container(name string) (Container, error) {
	for _, c := range s.containers {
		if c.ID == name || c.Name == name {
			return c, nil
		}
	}
	return Container{}, &UnknownError{Kind: "container", Name: name}
}

func (s *store) Create(_ context.Context, c Create) (string, error) {
	s.created = c
	return "c1c1", s.err
}

func (s *store) Start(context.Context, string, Streams) (int, error) { return s.status, s.err }

func (s *store) Detach(context.Context, string) error { s.note("detach"); return s.err }

func (s *store) Exec(context.Context, string, Process, Streams) (int, error) { return s.status, s.err }

func (s *store) Logs(_ string, to io.Writer) error { _, err := io.WriteString(to, "log\n"); return err }

func (s *store) Kill(_ context.Context, id string, signal int) error {
	s.note("kill %s %d", id, signal)
	for i := range s.containers {
		s.containers[i].Status = Exited
	}
	return nil
}

func (s *store) Remove(_ context.Context, id string) error { s.note("rm %s", id); return s.err }

func (s *store) Export(_ context.Context, _ string, to io.Writer) error {
	io.WriteString(to, "files")
	return s.err
}

func (s *store) Copy(_ context.Context, c Copy, _ Streams) error { s.copied = c; return s.err }

// now is when tests run.
var now = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// run runs one command line, its words parted by blanks.
func run(t *testing.T, s *store, line string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	words := strings.Fields(line)
	c := Command{
		Program: words[0], Version: "1", Images: s, Containers: s, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Dir: "/here", TempDir: t.TempDir(), Now: func() time.Time { return now },
		Getenv: func(name string) (string, bool) {
			return map[string]string{"OWN": "of the caller"}[name], name == "OWN"
		},
	}
	status = c.Run(context.Background(), words[1:])
	return status, out.String(), errs.String()
}

func debian() Image {
	return Image{
		ID: strings.Repeat("ab", 32), Names: []string{"docker.io/library/debian:12"}, Created: now.Add(-26 * time.Hour), Size: 123456789, Architecture: "amd64",
		Config: Config{Env: []string{"PATH=/bin", "A=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"default"}, WorkingDir: "/srv", User: "bob"},
	}
}

func TestRunTakesFromTheImageWhatIsNotGiven(t *testing.T) {
	for _, tt := range []struct {
		line string
		args []string
		env  []string
		dir  string
		user string
	}{
		{"docker run ID", []string{"/entry", "default"}, []string{"PATH=/bin", "A=image"}, "/srv", "bob"},
		{"docker run ID own -x", []string{"/entry", "own", "-x"}, []string{"PATH=/bin", "A=image"}, "/srv", "bob"},
		{"docker run --entrypoint sh -w / -u 0:0 ID -c words", []string{"sh", "-c", "words"}, []string{"PATH=/bin", "A=image"}, "/", "0:0"},
		{"docker run --entrypoint= ID sh", []string{"sh"}, []string{"PATH=/bin", "A=image"}, "/srv", "bob"},
		{"docker run -itd -e A=1 -eB=2 --env OWN -e NONE ID", []string{"/entry", "default"}, []string{"TERM=xterm", "PATH=/bin", "A=1", "B=2", "OWN=of the caller"}, "/srv", "bob"},
		{"podman container run --rm=false ID", []string{"/entry", "default"}, []string{"container=podman", "PATH=/bin", "A=image"}, "/srv", "bob"},
	} {
		s := &store{images: []Image{debian()}}
		line := strings.ReplaceAll(tt.line, "ID", debian().ID)
		if status, _, stderr := run(t, s, line); status != 0 {
			t.Errorf("%s: status %d: %s", line, status, stderr)
		}
		p := s.created.Process
		if !slices.Equal(p.Args, tt.args) || !slices.Equal(p.Env, tt.env) || p.Dir != tt.dir || p.User != tt.user {
			t.Errorf("%s: %q, %q, %s, %s", tt.line, p.Args, p.Env, p.Dir, p.User)
		}
	}
}

func TestVolumesAreReadAsDockerDoes(t *testing.T) {
	for _, tt := range []struct {
		options string
		want    []Volume
	}{
		{"-v /a:/b", []Volume{{Source: "/a", Target: "/b", Make: true}}},
		{"-v ./a:/b:ro,z", []Volume{{Source: "/here/a", Target: "/b", ReadOnly: true, Make: true}}},
		{"-v named:/b", []Volume{{Source: "named", Target: "/b", Make: true}}},
		{"-v /anonymous", nil},
		{"--tmpfs /t:size=1m", []Volume{{Target: "/t"}}},
		{"--mount type=bind,source=/a,target=/b,readonly", []Volume{{Source: "/a", Target: "/b", ReadOnly: true}}},
		{"--mount src=named,dst=/b", []Volume{{Source: "named", Target: "/b", Make: true}}},
		{"--mount type=tmpfs,destination=/b", []Volume{{Target: "/b"}}},
	} {
		s := &store{images: []Image{debian()}}
		status, _, stderr := run(t, s, "docker create "+tt.options+" "+debian().ID)
		if status != 0 || !slices.Equal(s.created.Process.Volumes, tt.want) {
			t.Errorf("%s: status %d, %+v %s", tt.options, status, s.created.Process.Volumes, stderr)
		}
	}
	for _, options := range []string{"-v a:b", "-v /a:/b:c:d", "-v /a:/b:odd", "-v ../a/../b:/", "-v a/b:/c", "--mount type=image,src=a,dst=/b", "--mount type=bind,dst=/b", "--mount odd=1"} {
		if status, _, stderr := run(t, &store{images: []Image{debian()}}, "docker create "+options+" "+debian().ID); status != 125 && status != 1 || stderr == "" {
			t.Errorf("%s: status %d, %s", options, status, stderr)
		}
	}
}

func TestStatusesAreThoseOfThePrograms(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		line   string
		status int
		err    error
		want   int
	}{
		{"docker run ID", 7, nil, 7},
		{"podman run ID", 200, nil, 200},
		{"docker run ID", 0, boom, 125},
		{"docker run ID", 0, &StartError{Status: 127, Err: boom}, 127},
		{"docker exec box ls", 9, nil, 9},
		{"docker run ID", 0, context.Canceled, 130},
		{"docker tag ID other", 0, boom, 1},
		{"podman tag ID other", 0, boom, 125},
		{"docker tag ID", 0, nil, 125},
		{"docker rm none", 0, nil, 1},
		{"docker rm -f none", 0, nil, 0},
		{"podman image exists none", 0, nil, 1},
		{"podman image exists ID", 0, nil, 0},
		{"podman container exists box", 0, nil, 0},
		{"docker no-such", 0, nil, 125},
		{"docker run --no-such ID", 0, nil, 125},
		{"docker", 0, nil, 0},
		{"docker --version", 0, nil, 0},
		{"podman --log-level debug version", 0, nil, 0},
	} {
		s := &store{images: []Image{debian()}, containers: []Container{{ID: "b0b0", Name: "box", Status: Running}}, status: tt.status, err: tt.err}
		if got, _, stderr := run(t, s, strings.ReplaceAll(tt.line, "ID", debian().ID)); got != tt.want || (tt.err != nil) != (stderr != "") && tt.want != 1 && tt.want != 125 {
			t.Errorf("%s: status %d, want %d: %s", tt.line, got, tt.want, stderr)
		}
	}
}

func TestListsAreTablesOrTemplates(t *testing.T) {
	box := Container{
		ID: strings.Repeat("c0", 32), Name: "box", Image: debian().ID, ImageName: "debian:12", Created: now.Add(-time.Minute), Status: Exited, ExitCode: 3,
		Finished: now, Process: Process{Args: []string{"/bin/sh", "-c", "echo a long command"}},
	}
	s := &store{images: []Image{debian(), {ID: strings.Repeat("cd", 32), Created: now}}, containers: []Container{box}}
	for line, want := range map[string]string{
		"docker images":              "REPOSITORY   TAG      IMAGE ID       CREATED                  SIZE\n<none>       <none>   cdcdcdcdcdcd   Less than a second ago   0B\ndebian       12       abababababab   1 day ago                123MB\n",
		"podman images -n -q debian": "abababababab\n",
		"podman images --filter dangling=true --format {{.ID}}/{{.Tag}}":           "cdcdcdcdcdcd/<none>\n",
		"podman images --filter reference=*/library/deb* --format {{.Repository}}": "docker.io/library/debian\n",
		"docker ps":                                          "CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES\n",
		"docker ps -aq --no-trunc":                           box.ID + "\n",
		"docker ps -a --filter name=other -q":                "",
		"docker ps -a --format {{.Names}}:{{.Status}}":       "box:Exited (3) Less than a second ago\n",
		"docker ps -a --format table{{.Names}}":              "NAMES\nbox\n",
		"docker inspect -f {{.State.ExitCode}}{{.Name}} box": "3/box\n",
		"podman inspect --format {{.Id}} " + debian().ID:     debian().ID + "\n",
		"docker inspect -f {{json.Config.Env}} debian:12":    "",
		"docker version --format {{.Server.Version}}":        dockerVersion + "\n",
		"podman info --format {{.Host.Security.Rootless}}":   "true\n",
		"docker wait box":                                    "3\n",
		"docker rmi debian:12":                               "Untagged: debian:12\nDeleted: sha256:abcd\n",
		"docker load":                                        "Loaded image: loaded:1\n",
		"docker import - x":                                  "sha256:1234\n",
		"docker commit box":                                  "sha256:c0de\n",
		"podman commit box":                                  "c0de\n",
		"docker run -d debian:12 sh":                         "c1c1\n",
		"docker export box":                                  "files",
	} {
		s.images[0].Names = []string{"docker.io/library/debian:12", "debian:12"}[:1]
		if strings.Contains(line, "run") || strings.Contains(line, "json.") {
			s.images[0].Names = []string{"debian:12"}
		}
		if _, stdout, stderr := run(t, s, line); stdout != want {
			t.Errorf("%s:\n%q, want\n%q\n%s", line, stdout, want, stderr)
		}
	}
}

func TestWhatIsNotUnderstoodIsNamed(t *testing.T) {
	for line, want := range map[string]string{
		"docker run --gpus all x":           `option --gpus of docker run is not understood`,
		"docker run -Z x":                   `option -Z of docker run`,
		"docker run --name":                 `needs a value`,
		"docker run --rm=perhaps x":         `takes true or false`,
		"docker run":                        `no image is named`,
		"docker swarm init":                 `command "swarm" is not understood here; understood are build,`,
		"docker login":                      `outside of builds`,
		"docker build https://example.org":  `fetch it before`,
		"docker build":                      `a context is wanted`,
		"docker build a b":                  `one context`,
		"docker build -t UPPER .":           `no name of an image`,
		"docker build --platform a/b/c/d .": `platform`,
		"docker commit -f odd box":          `format "odd"`,
		"docker kill -s odd box":            `no signal`,
		"docker ps --filter odd=1":          `filter "odd=1"`,
		"docker images -f odd=1":            `filter "odd=1"`,
		"docker cp a b":                     `CONTAINER:PATH`,
		"docker inspect -f {{x box":         `cannot read --format`,
		"docker import http://x/y":          `fetch it before`,
		"docker save --format odd x":        `format "odd"`,
	} {
		s := &store{containers: []Container{{ID: "b0b0", Name: "box", Status: Running}}}
		status, _, stderr := run(t, s, line)
		if status == 0 || !strings.Contains(stderr, want) || !strings.HasPrefix(stderr, "dibber: docker") {
			t.Errorf("%s: status %d, %q", line, status, stderr)
		}
	}
}

func TestRemovingForcesOrWaits(t *testing.T) {
	s := &store{containers: []Container{{ID: "b0b0", Name: "box", Status: Running}}}
	if status, _, _ := run(t, s, "docker rm -f box"); status != 0 || !slices.Equal(s.asked, []string{"kill b0b0 9", "rm b0b0"}) {
		t.Errorf("status %d, %q", status, s.asked)
	}
	s = &store{containers: []Container{{ID: "b0b0", Name: "box", Status: Running}}}
	if status, _, stderr := run(t, s, "docker stop -t 5 box"); status != 0 || !slices.Equal(s.asked, []string{"kill b0b0 15"}) {
		t.Errorf("status %d, %q, %s", status, s.asked, stderr)
	}
}

func TestCopiesKnowPathsFromContainers(t *testing.T) {
	for line, want := range map[string]Copy{
		"docker cp box:/a b":      {From: Place{"b0b0", "/a"}, To: Place{"", "/here/b"}},
		"docker cp ./x:y box:/":   {From: Place{"", "/here/./x:y"}, To: Place{"b0b0", "/"}},
		"docker cp - box:/tmp":    {From: Place{"", "-"}, To: Place{"b0b0", "/tmp"}},
		"docker cp -a box:a/. b/": {From: Place{"b0b0", "a/."}, To: Place{"", "/here/b/"}, Archive: true},
	} {
		s := &store{containers: []Container{{ID: "b0b0", Name: "box"}}}
		if status, _, stderr := run(t, s, line); status != 0 || s.copied != want {
			t.Errorf("%s: status %d, %+v, %s", line, status, s.copied, stderr)
		}
	}
}

func TestBuildFetchesTheBasesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	text := "ARG V=1\nFROM --platform=linux/arm64 one:$V AS first\nFROM debian:12\nCOPY --from=first /a /b\nCOPY --from=tools:2 /a /b\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	image := debian()
	image.Names = []string{"debian:12"}
	s := &store{images: []Image{image}}
	status, stdout, stderr := run(t, s, "podman build -q -t x -t y --build-arg V=3 --build-arg OWN --iidfile "+dir+"/iid "+dir)
	if status != 0 || stdout != "b111\n" {
		t.Errorf("status %d, %q, %s", status, stdout, stderr)
	}
	if want := []string{"pull one:3 arm64", "pull tools:2 "}; !slices.Equal(s.asked, want) {
		t.Errorf("asked for %q, want %q", s.asked, want)
	}
	if b := s.built; !slices.Equal(b.Names, []string{"x", "y"}) || b.Args["OWN"] != "of the caller" || b.Docker || b.Context != dir {
		t.Errorf("built %+v", b)
	}
	if iid, err := os.ReadFile(dir + "/iid"); err != nil || string(iid) != "sha256:b111" {
		t.Errorf("%q, %v", iid, err)
	}
	s.asked = nil
	if status, _, _ := run(t, s, "docker build --pull never --from none:1 "+dir); status == 0 || len(s.asked) > 0 {
		t.Errorf("status %d, %q", status, s.asked)
	}
}

func TestAnOutputThatFailsIsNotLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := &store{containers: []Container{{ID: "b0b0", Name: "box"}}}
	if status, _, stderr := run(t, s, "docker export -o "+path+" box"); status != 0 {
		t.Error(stderr)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "files" {
		t.Errorf("%q, %v", text, err)
	}
	s.err = errors.New("boom")
	if status, _, _ := run(t, s, "docker export -o "+path+" box"); status != 1 || exists(path) {
		t.Errorf("status %d, and the file is there: %v", status, exists(path))
	}
}
