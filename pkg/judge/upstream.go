package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Checkout gives the checkout of diskimage-builder that DIBBER_UPSTREAM names. The
// test is skipped where it names none.
func Checkout(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("DIBBER_UPSTREAM")
	if dir == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder to compare with")
	}
	return dir
}

// Python gives a Python that has the modules. The test is skipped where none has.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return python
		}
	}
	t.Skipf("no python3 has %s (Debian: python3-NAME)", strings.Join(modules, ", "))
	return ""
}

// Ask runs a script of Python, which reads the questions and prints the answers as
// JSON. seed is that of its hashes: what depends on the order of sets is asked
// several times.
func Ask(t testing.TB, python string, seed int, questions, answers any, script ...string) {
	t.Helper()
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	var messages bytes.Buffer
	cmd := exec.Command(python, script...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("PYTHONHASHSEED=%d", seed))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &messages
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, answers)
	}
	if err != nil {
		t.Fatalf("asking diskimage-builder: %v\n%s", err, &messages)
	}
}
