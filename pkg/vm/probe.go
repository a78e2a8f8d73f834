package vm

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// probeTimeout is far more than a guest on a real KVM needs (0.1 s), and
// enough for emulation (0.3 s) on a busy machine. Where KVM itself interprets
// the guest's instructions, the probe's guest takes minutes.
const probeTimeout = 3 * time.Second

// probeDiskBytes is the size of the probe's disk: SeaBIOS does not boot from
// one that has less than a cylinder.
const probeDiskBytes = 1 << 20

// probeToken is what the probe's guest writes when it has come through.
const probeToken = "dibber: the guest runs"

// Probe tells what ProbeKVM found.
type Probe struct {
	Usable bool
	Why    string // if not usable: what is in the way
}

// ProbeKVM tells whether KVM runs guests on this machine, by running one. A
// /dev/kvm that opens is no sign: inside some virtual machines it answers, firmware
// and boot loader even start, and then no kernel ever comes up. The guest is a boot
// sector (testdata/probe.s) that does what kernels do first.
//
// What the guest showed holds until the machine is started anew or QEMU
// changes, and is kept in the folder cache; "" keeps nothing.
func ProbeKVM(ctx context.Context, cache string) Probe {
	if runtime.GOARCH != "amd64" {
		return Probe{Why: "there is no test guest for " + runtime.GOARCH + " yet, so KVM is not trusted"}
	}
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Probe{Why: whyNoDevice(err)}
	}
	_ = dev.Close() // nothing was written
	m, err := machineFor("amd64")
	if err != nil {
		return Probe{Why: err.Error()}
	}
	qemu, err := m.emulator()
	if err != nil {
		return Probe{Why: err.Error()}
	}
	key := probeKey(qemu)
	if found, ok := recall(cache, key); ok {
		return found
	}
	found, err := probeGuest(ctx, KVM)
	if err != nil {
		return Probe{Why: err.Error()} // the machine is at fault or ctx ended: ask again next time
	}
	remember(cache, key, found)
	return found
}

func whyNoDevice(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "there is no /dev/kvm"
	case errors.Is(err, os.ErrPermission):
		return "you may not open /dev/kvm"
	}
	return err.Error()
}

// probeGuest runs the test guest. The error is nil when the guest itself gave
// the answer.
func probeGuest(ctx context.Context, with Acceleration) (Probe, error) {
	dir, err := os.MkdirTemp("", "dibber-kvm-")
	if err != nil {
		return Probe{}, err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "probe.img")
	if err := errors.Join(os.WriteFile(image, probeSector(), 0o600), os.Truncate(image, probeDiskBytes)); err != nil {
		return Probe{}, err
	}
	_, err = Boot(ctx, Options{
		Image: image, Format: "raw", Arch: "amd64", Acceleration: with,
		Network: NetworkNone, MemoryMiB: 64, TempDir: dir,
		Expect: regexp.MustCompile(probeToken), Timeout: probeTimeout,
	})
	var missed *NotSeenError
	switch {
	case err == nil:
		return Probe{Usable: true}, nil
	case errors.As(err, &missed):
		return Probe{Why: fmt.Sprintf("/dev/kvm answers, but a small test guest did not come up in %v", probeTimeout)}, nil
	}
	return Probe{}, err
}

// record is a probe's answer as it is kept, with what it depends on.
type record struct {
	Key string
	Probe
}

const recordName = "kvm-probe.json"

// probeKey names this start of the machine and this QEMU; "" if the machine
// does not say, and then nothing is kept.
func probeKey(qemu string) string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	st, err := os.Stat(qemu)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %d %d", strings.TrimSpace(string(id)), qemu, st.Size(), st.ModTime().Unix())
}

func recall(cache, key string) (Probe, bool) {
	if cache == "" || key == "" {
		return Probe{}, false
	}
	var r record
	b, err := os.ReadFile(filepath.Join(cache, recordName))
	if err != nil || json.Unmarshal(b, &r) != nil || r.Key != key {
		return Probe{}, false
	}
	return r.Probe, true
}

// remember is of use only to later runs, so a folder that cannot be written
// costs them the probe's time and nothing else.
func remember(cache, key string, found Probe) {
	if cache == "" || key == "" || os.MkdirAll(cache, 0o755) != nil {
		return
	}
	b, err := json.Marshal(record{key, found})
	if err != nil {
		return
	}
	tmp, err := os.CreateTemp(cache, recordName+".")
	if err != nil {
		return
	}
	_, err = tmp.Write(b)
	if errors.Join(err, tmp.Close()) != nil || os.Rename(tmp.Name(), filepath.Join(cache, recordName)) != nil {
		_ = os.Remove(tmp.Name())
	}
}

// probeSector is testdata/probe.s, assembled; a test compares the two.
func probeSector() []byte {
	sector := make([]byte, 512)
	n, err := hex.Decode(sector, []byte(probeHex))
	if err != nil || n > 510 {
		panic("internal error: the probe's boot sector is damaged")
	}
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

const probeHex = "" +
	"fafcea077c000031c08ed88ec08ed0bc007cbf0010b9002cf3abc70600100320c70600200330c706" +
	"0030830066c706083083002000bb807d660f011766b8200600000f22e066b8001000000f22d866b9" +
	"800000c00f320d00010f3066b8330000800f22c0ea697c0800b8100000008ed08ed88ec0bf004200" +
	"00b8387d0000668907c747020800008e0f011c25867d0000be477d0000b011e620e6a0ace621ace6" +
	"a1ace621ace6a1ace621e6a1ace621b0ffe6a1b034e643b0a9e640b004e640fbf4833c2500600000" +
	"1472f5bdd007000031c00fa2b9800000c00f320f300f20d80f22d880342508300000200f013c2500" +
	"002000ff042500002000ffcd75d2b9002d3101660fefc0660f76c9660ffac1ff042500002000ffc9" +
	"75f1660f7ec03d002d31017510be4d7d0000baf8030000acee84c075faf4ebfd50ff042500600000" +
	"b020e6205848cf2028040201fe6469626265723a207468652067756573742072756e730d0a006690" +
	"000000000000000000000000009a200000000000009200001700687d0000ff0f0040000000000000"
