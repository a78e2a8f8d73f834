//go:build containers_image_openpgp

package container

import "os"

// apartVariable tells the worker whether its user namespace was made for it.
const apartVariable = "_DIBBER_APART"

// EnterApart is Enter, but root too gets a user namespace of its own, with the
// same ids. What the kernel is told there, of programs of other architectures
// say, the machine does not notice.
func EnterApart() (inside bool, status int, err error) {
	if os.Geteuid() != 0 || os.Getenv(stageVariable) == stageWorker {
		return Enter()
	}
	return enterAs(ownMapping)
}

// Apart tells, inside, whether the user namespace was made by Enter or EnterApart
// and ends with this build.
func Apart() bool { return os.Getenv(apartVariable) == "true" }
