// Package artifact makes outputs that appear whole under their name or not at all.
//
// It does not know what the bytes mean.
package artifact
