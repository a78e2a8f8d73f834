package vm

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	defaultMemoryMiB = 1024
	defaultCPUs      = 1
	defaultTCGCPU    = "max"
)

// drive is one image with the format that was settled for it.
type drive struct{ path, driver string }

// arguments gives QEMU's command line, without its name.
func (m machine) arguments(o Options, disks []drive, flash *firmware, kvm bool) ([]string, error) {
	args := []string{"-nodefaults", "-no-user-config", "-display", "none"}
	args = append(args, m.args...)
	if kvm {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", cmp.Or(o.CPU, m.cpu, defaultTCGCPU))
	}
	args = append(args,
		"-m", strconv.Itoa(orDefault(o.MemoryMiB, defaultMemoryMiB)),
		"-smp", strconv.Itoa(orDefault(o.CPUs, defaultCPUs)),
		"-device", "virtio-rng-pci")
	if o.interactive() {
		args = append(args, "-serial", "mon:stdio")
	} else {
		args = append(args, "-serial", "stdio")
	}
	if flash != nil {
		pair, err := flash.arguments()
		if err != nil {
			return nil, err
		}
		args = append(args, pair...)
	}
	for i, d := range disks {
		id := "disk" + strconv.Itoa(i)
		args = append(args,
			"-drive", "if=none,snapshot=on,id="+id+","+d.option(),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,bootindex=%d%s", id, i, sectors(o.SectorSize)))
	}
	return append(args, network(o)...), nil
}

// sectors gives the disk's properties for a size of its sectors.
func sectors(size int) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", size)
}

// option names the image without QEMU reading anything into the name: a
// protocol ("nbd:..."), a JSON object, or an option after a comma.
func (d drive) option() string {
	return "driver=" + d.driver + ",file.driver=file,file.filename=" + strings.ReplaceAll(d.path, ",", ",,")
}

// arguments puts the variable store on a snapshot, so that its template
// serves as it is and no copy is left behind.
func (f firmware) arguments() ([]string, error) {
	var out []string
	if f.secure {
		out = append(out, "-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	for i, name := range []string{f.code, f.vars} {
		driver, err := probe(name)
		if err != nil {
			return nil, fmt.Errorf("reading firmware %s: %w", name, err)
		}
		mode := "readonly=on"
		if name == f.vars {
			mode = "snapshot=on"
		}
		out = append(out, "-drive", fmt.Sprintf("if=pflash,unit=%d,%s,%s", i, mode, drive{name, driver}.option()))
	}
	return out, nil
}

// network gives the guest an address but, unless asked, no way out: what a
// boot shows must not hang on the machine's network, and an image under test
// has no business there. The forwarded port listens on the loopback address only.
func network(o Options) []string {
	if o.Network == NetworkNone {
		return nil
	}
	netdev := "user,id=net0"
	if o.Network == NetworkClosed {
		netdev += ",restrict=on"
	}
	if o.SSHPort != 0 {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", o.SSHPort)
	}
	return []string{"-netdev", netdev, "-device", "virtio-net-pci,netdev=net0,romfile="}
}

// drives settles the format of every image and makes its name absolute.
func drives(o Options) ([]drive, error) {
	var out []drive
	for i, name := range append([]string{o.Image}, o.Disks...) {
		format := ""
		if i == 0 {
			format = o.Format
		}
		driver, err := driverFor(name, format)
		if err != nil {
			return nil, fmt.Errorf("cannot boot %s: %w", name, err)
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, fmt.Errorf("cannot boot %s: %w", name, err)
		}
		out = append(out, drive{abs, driver})
	}
	return out, nil
}

func orDefault(n, standard int) int {
	if n > 0 {
		return n
	}
	return standard
}
