// Package environ holds the variables that hooks see: what the user exported,
// what diskimage-builder defines and what the plan of the disk fixes. It does
// not know how or where hooks run, and sources no environment.d: the shell that
// runs the hooks does.
package environ
