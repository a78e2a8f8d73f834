// Package container wraps one buildah working container: made from nothing or
// from an OCI image, entered by commands, mounted for reading, and removed; and
// the namespaces in which that works without root.
//
// It is the only importer of buildah and of the container storage library. It
// knows no element, no name of diskimage-builder and no disk, and keeps no
// steps of a build: one container, one build.
//
// # Processes
//
// A command that builds goes through three processes of the same binary:
//
//	supervisor  the process the user started; it only waits and passes signals on
//	init        first in a new user, mount and pid namespace; reaps orphans
//	worker      does the work, as root of the user namespace
//
// init holds the reading end of a pipe whose writing end only the supervisor
// has. However the supervisor dies, the pipe closes, init ends, and the kernel
// ends everything in its pid namespace; mounts go with the mount namespace. So
// nothing can be left behind. worker has a session of its own, and so has each
// outside command, lest a hook that signals its process group reaches the
// caller's. Root with CAP_SYS_ADMIN takes the same way with
// no new user namespace. Where the kernel refuses to mount /proc (a pod whose
// /proc is masked) there is no pid namespace either: init and supervisor are
// then subreapers that end every descendant.
//
// A supervisor that is the first process of a container also reaps what others
// leave to it.
//
// The re-execution counts its steps in the environment and each step only
// leads to the next, so it always ends.
//
// What the kernel grants is tried and not guessed: TryKernel does so in a child
// that ends at once, a pid namespace is given up for the refusal to mount its
// /proc, overlay for the refusal to mount one, and a directory for what it does
// not keep of a file.
package container
