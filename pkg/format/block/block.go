// Package block is for formats that keep an image in blocks: it finds those
// that hold data, prepares those to write in several goroutines, puts them where
// they belong in a file, and keeps those that were read last.
//
// It knows no format.
package block
