// Package svcmap does what the svc-map element does outside the target: it merges the svc-map files of elements into one map from service name to the name on one distribution.
//
// It does not enable services and knows no container.
package svcmap
