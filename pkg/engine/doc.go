// Package engine is the command line of docker and podman, as hooks use it. It
// runs no container, keeps no image and knows neither registries nor buildah:
// what a command line asks for is put to [Images] and [Containers], and what
// they answer is printed as the two programs print it.
//
// Only what makes sense in a build without root is understood; the rest is
// refused by name. Options that limit or isolate what runs (--memory, --cpus,
// --security-opt, --cap-add, --privileged, --network and their like) are
// accepted without effect: containers share the network of the build and are
// root of its user namespace only.
//
// A container that is started with -d runs until its command ends, but no longer
// than the phase of the hook that started it.
package engine
