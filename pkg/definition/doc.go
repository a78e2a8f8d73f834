// Package definition reads the image definitions of the command
// diskimage-builder: YAML files that say which images to build, and how. It
// builds nothing and runs nothing: what comes out are the arguments and variables
// of one command line for each image.
//
// A file is a list of maps. [Properties] lists the keys with what they may hold;
// the schema that [Schema] gives says the same as JSON Schema. Entries of several
// files count as those of one. Entries of the same imagename are one image: lists
// grow, maps are laid over each other, anything else is replaced; an entry without
// a name belongs to the one before it.
//
// [Read] reports every fault that it finds, each with its file, line and column.
package definition
