//go:build containers_image_openpgp

package main

import (
	"os/exec"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
)

func TestElementVariablesAreReadBackByBash(t *testing.T) {
	set := &element.Set{Elements: []*element.Element{{Name: "a", Dir: "/it's $HOME/a"}, {Name: "b", Dir: "/e/b"}}}
	script := elementVariables(set) + `
export -p | grep -c ' IMAGE_ELEMENT'
echo "$IMAGE_ELEMENT"
printf %s "$IMAGE_ELEMENT_YAML"
bash -c 'eval declare -A found=($(get_image_element_array)); echo "${found[a]} ${found[b]}"'`
	out, err := exec.Command("bash", "-euc", script).CombinedOutput()
	want := "2\na b\n" + set.YAML() + "/it's $HOME/a /e/b\n"
	if string(out) != want || err != nil {
		t.Errorf("%v: got\n%s\nwant\n%s", err, out, want)
	}
}
