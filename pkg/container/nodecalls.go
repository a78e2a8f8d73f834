//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nodeCalls are the calls of mknod below this process, which wait for what it
// answers (seccomp_unotify(2)).
type nodeCalls struct{ fd int }

// The structures that the kernel hands out and takes, as in linux/seccomp.h.
type seccompData struct {
	nr   int32
	arch uint32
	ip   uint64
	args [6]uint64
}

type seccompNotif struct {
	id    uint64
	pid   uint32
	flags uint32
	data  seccompData
}

type seccompResp struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// syscallNumbers are those of this machine; noCall stands for one that it lacks.
type syscallNumbers struct{ arch, mknod, mknodat uint32 }

const noCall = ^uint32(0)

func numbers() (syscallNumbers, error) {
	switch runtime.GOARCH {
	case "amd64":
		return syscallNumbers{unix.AUDIT_ARCH_X86_64, 133, 259}, nil
	case "arm64":
		return syscallNumbers{unix.AUDIT_ARCH_AARCH64, noCall, 33}, nil
	}
	return syscallNumbers{}, errors.New("the numbers of system calls are not known")
}

// watchNodes makes every call of mknod for a device, here and in all processes
// that follow, one that is answered here.
func watchNodes() (*nodeCalls, error) {
	n, err := numbers()
	if err != nil {
		return nil, err
	}
	filter := nodeFilter(n)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return nil, fmt.Errorf("watching system calls: %w", errno)
	}
	unix.CloseOnExec(int(fd))
	return &nodeCalls{int(fd)}, nil
}

// Offsets in seccompData; the low half of an argument comes first on the machines
// that numbers knows.
const (
	offNr, offArch = 0, 4
	offArgs        = 16
)

// nodeFilter lets pass whatever is no mknod of a device. The device 0:0 is one
// that the kernel lets everybody make: overlayfs marks removed files with it.
func nodeFilter(n syscallNumbers) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// equal goes on after as many more instructions as yes and no say.
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	return []unix.SockFilter{
		0:  load(offArch),
		1:  equal(n.arch, 0, 13),
		2:  load(offNr),
		3:  equal(n.mknod, 1, 0),
		4:  equal(n.mknodat, 4, 10),
		5:  load(offArgs + 2*8), // of mknod: the device
		6:  equal(0, 8, 0),
		7:  load(offArgs + 1*8), // and the mode
		8:  {Code: unix.BPF_JMP | unix.BPF_JA, K: 3},
		9:  load(offArgs + 3*8), // of mknodat: the device
		10: equal(0, 4, 0),
		11: load(offArgs + 2*8), // and the mode
		12: {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: unix.S_IFMT},
		13: equal(unix.S_IFCHR, 2, 0),
		14: equal(unix.S_IFBLK, 1, 0),
		15: {Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		16: {Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
}

// next waits for a call.
func (c *nodeCalls) next() (*nodeCall, error) {
	for {
		var n seccompNotif
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
		switch errno {
		case 0:
			return n.call(), nil
		case unix.EINTR, unix.ENOENT: // a process that was killed meanwhile
		default:
			return nil, errno
		}
	}
}

func (n *seccompNotif) call() *nodeCall {
	args := n.data.args[:]
	dir := int32(unix.AT_FDCWD)
	if numbers, err := numbers(); err != nil || uint32(n.data.nr) != numbers.mknod {
		dir, args = int32(args[0]), args[1:]
	}
	return &nodeCall{id: n.id, pid: int(n.pid), dir: int(dir), path: args[0], mode: uint32(args[1]), dev: uint64(uint32(args[2]))}
}

// waits tells whether the process of a call is still there and waits.
func (c *nodeCalls) waits(id uint64) bool {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}

// answer lets a call end. That its process has gone is no concern of ours.
func (c *nodeCalls) answer(call *nodeCall, err error) {
	resp := seccompResp{id: call.id}
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		resp.err = -int32(errno)
	case err != nil:
		resp.err = -int32(unix.EPERM)
	}
	unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&resp)))
}
