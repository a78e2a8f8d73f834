// Package inspect looks into finished images, those of others too: format,
// partition table, volumes, file systems, what boots them, and their files.
//
// Nothing is mounted, run or changed, and nothing that an image says is
// believed: a part that cannot be read is a fault in the report, and the rest is
// still read. Other files that an image names are opened only when the caller
// names them as well.
package inspect
