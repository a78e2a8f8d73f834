// Package lint says what is wrong with elements before anything is built. It
// changes nothing, builds nothing and does not know what a build makes of the
// elements: it reads their files, and runs no more than the checkers of others
// that it is told of (shellcheck, flake8, git to learn what is ignored).
//
// It answers two questions. [Report.Findings] are faults: what diskimage-builder's
// dib-lint refuses, under the names that dib-lint's comments disable, and what
// keeps a hook from ever running. [Element.Uses] is the report of compatibility:
// what a hook does that an ordinary user cannot do, whether dibber answers it
// with a command of its own, and the mend where it cannot.
//
// Elements are written by strangers: symbolic links are not followed, sizes are
// bounded, and what is quoted of a file loses its control characters.
package lint
