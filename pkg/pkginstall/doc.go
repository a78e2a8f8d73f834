// Package pkginstall does what the package-installs commands of
// diskimage-builder do outside the target: it reads the package-installs files
// of elements and squashes them into one list a phase. It installs nothing,
// maps no names and knows no container.
package pkginstall
