// Package svcmap does what the svc-map element of diskimage-builder does
// outside the target: it merges the svc-map files of elements into one map
// from service name to the name on one distribution. It enables no service
// and knows no container.
package svcmap
