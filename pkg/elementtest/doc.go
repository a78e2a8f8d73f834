// Package elementtest runs the tests that elements bring along: the directories
// in an element's test-elements, each of which is an element that is built on
// top of the one it tests. A test passes as it does under diskimage-builder's
// own functional tests.
//
// It does not build anything itself: every build is handed to a function of the
// caller's. Nor does it know the clock, which comes in from outside.
package elementtest
