//go:build !race

package judge

// Race tells that the race detector is at work. It finds races whatever the
// size of an image and makes all slower by far, so a test may try fewer sizes.
const Race = false
