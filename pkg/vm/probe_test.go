package vm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
)

func TestProbeSectorIsItsSource(t *testing.T) {
	dir := t.TempDir()
	object, sector := filepath.Join(dir, "probe.o"), filepath.Join(dir, "probe.img")
	for _, args := range [][]string{
		{"as", "--64", "testdata/probe.s", "-o", object},
		{"ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", object, "-o", sector},
	} {
		if out, err := judge.Run(t, args[0], args[1:]...); err != nil {
			t.Skipf("assembling the probe needs binutils for amd64: %v: %s", err, out)
		}
	}
	want, err := os.ReadFile(sector)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, probeSector()) {
		t.Errorf("probeHex is not testdata/probe.s; assembled it is\n%x", want)
	}
}

func TestProbesGuestComesThroughEmulated(t *testing.T) {
	needQEMU(t)
	found, err := probeGuest(context.Background(), TCG)
	if err != nil || !found.Usable {
		t.Errorf("the probe gave %+v, %v", found, err)
	}
}

func TestKVMsAnswerIsKeptForThisStartOfTheMachine(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	found := Probe{Why: "a guest did not come up"}
	remember(cache, "boot 1", found)
	if got, ok := recall(cache, "boot 1"); !ok || got != found {
		t.Errorf("kept %+v, %v", got, ok)
	}
	if _, ok := recall(cache, "boot 2"); ok {
		t.Error("an answer outlived the machine's start")
	}
	remember(cache, "boot 2", Probe{Usable: true})
	if got, ok := recall(cache, "boot 2"); !ok || !got.Usable {
		t.Errorf("kept %+v, %v", got, ok)
	}
	if left, _ := os.ReadDir(cache); len(left) != 1 {
		t.Errorf("the cache holds %v", left)
	}
	if err := os.WriteFile(filepath.Join(cache, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := recall(cache, "boot 2"); ok {
		t.Error("a damaged record was believed")
	}
}

// What KVM is worth differs from machine to machine; that ProbeKVM and its
// memory agree does not.
func TestProbeKVMAnswersTheSameTwice(t *testing.T) {
	needQEMU(t)
	cache := t.TempDir()
	first := ProbeKVM(context.Background(), cache)
	t.Logf("%+v", first)
	if second := ProbeKVM(context.Background(), cache); second != first {
		t.Errorf("first %+v, then %+v", first, second)
	}
	if !first.Usable && first.Why == "" {
		t.Error("no reason is given")
	}
}
