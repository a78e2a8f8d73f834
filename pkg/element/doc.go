// Package element reads diskimage-builder elements: it finds them along
// ELEMENTS_PATH, closes a list over element-deps and element-provides, merges
// their hook directories and orders hooks as dib-run-parts does. It does not
// know containers, disks or the values of environment variables, and runs
// nothing.
//
// Elements are written by strangers: what is read of them is bounded, and
// merging never writes outside the directory it is told.
package element
