package judge_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// verdict notes what becomes of a test.
type verdict struct {
	testing.TB
	skipped, failed bool
}

func (v *verdict) Helper()                           {}
func (v *verdict) Errorf(string, ...any)             { v.failed = true }
func (v *verdict) Fatalf(format string, args ...any) { v.failed = true; panic(v) }
func (v *verdict) Skip(args ...any)                  { v.skipped = true; panic(v) }

// try runs f as a test of its own.
func try(t *testing.T, f func(t testing.TB)) (found *verdict) {
	found = &verdict{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(found) {
			panic(r)
		}
	}()
	f(found)
	return found
}

func TestAProgramThatIsMissingSkipsTheTestAndNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, pkg := range map[string]string{"no-such-qemu": "no-such-qemu", "vmdkinfo": "libvmdk-utils"} {
		if path, err := judge.Find(name); err == nil {
			if !filepath.IsAbs(path) {
				t.Errorf("%s was found at %s", name, path)
			}
		} else if !strings.Contains(err.Error(), "package "+pkg) {
			t.Errorf("the error is %v", err)
		}
	}
	if v := try(t, func(t testing.TB) { judge.Must(t, "no-such-qemu") }); !v.skipped || v.failed {
		t.Errorf("the verdict is %+v", v)
	}
}

func TestWhatAProgramSaysAndThatItFailsIsSeen(t *testing.T) {
	if out := judge.Must(t, "sh", "-c", "echo out; echo err >&2; echo $LC_ALL $TZ"); out != "out\nerr\nC.UTF-8 UTC\n" {
		t.Errorf("it said %q", out)
	}
	if out, err := judge.Run(t, "sh", "-c", "echo why; exit 3"); err == nil || out != "why\n" {
		t.Errorf("it said %q, %v", out, err)
	}
	if v := try(t, func(t testing.TB) { judge.Must(t, "sh", "-c", "exit 3") }); !v.failed {
		t.Error("a failure was not seen")
	}
}

func TestTheRaceDetectorSeesFewerCases(t *testing.T) {
	all := []int{1, 2, 3}
	want := 3
	if judge.Race {
		want = 2
	}
	if got := judge.Few(all, 2); len(got) != want || got[0] != 1 || len(judge.Few(all, 9)) != 3 {
		t.Errorf("the cases are %v", got)
	}
}

func TestASavedImageIsTheSameAndADifferenceIsSeen(t *testing.T) {
	img, err := sparse.Join(3<<20, sparse.Part{Offset: 1<<20 + 5, Image: sparse.Bytes([]byte("data"))})
	if err != nil {
		t.Fatal(err)
	}
	path := judge.Save(t, img)
	judge.Same(t, judge.Load(t, path), img)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[2<<20] = 1
	if v := try(t, func(t testing.TB) { judge.Same(t, sparse.Bytes(b), img) }); !v.failed {
		t.Error("a difference was not seen")
	}
	if !filepath.IsAbs(judge.Tool(t, "sh")) {
		t.Error("the path of a program depends on the working directory")
	}
}
