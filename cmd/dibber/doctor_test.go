//go:build containers_image_openpgp

package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// settings are those of a pod that decide whether builds work in it, or how well.
func settings(t *testing.T, spec, container map[string]any) map[string]any {
	t.Helper()
	may := maps.Clone(container["securityContext"].(map[string]any))
	found := map[string]any{
		"workingDir": container["workingDir"], "mounts": container["volumeMounts"], "securityContext": may,
		"hostUsers": spec["hostUsers"], "restartPolicy": spec["restartPolicy"], "automountServiceAccountToken": spec["automountServiceAccountToken"],
	}
	for _, v := range container["env"].([]any) {
		if v := v.(map[string]any); slices.Contains([]string{"HOME", "TMPDIR"}, v["name"].(string)) {
			found[v["name"].(string)] = v["value"]
		}
	}
	for _, key := range []string{"resources", "computeResources"} {
		for kind, amounts := range asMap(container[key]) {
			for _, of := range []string{"memory", "ephemeral-storage"} {
				found[kind+" "+of] = asMap(amounts)[of]
			}
		}
	}
	for _, v := range spec["volumes"].([]any) {
		v := asMap(v)
		_, empty := v["emptyDir"]
		found["volume "+v["name"].(string)] = empty
	}
	return found
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// inside follows keys of an object; a list's only item needs none.
func inside(t *testing.T, object any, path string) map[string]any {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		object = asMap(object)[key]
		if list, ok := object.([]any); ok && len(list) == 1 {
			object = list[0]
		}
	}
	m, ok := object.(map[string]any)
	if !ok {
		t.Fatalf("there is no %s", path)
	}
	return m
}

func readYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDoctorsPodIsThatOfTheManifestsAndOfTheManual(t *testing.T) {
	cmd := exec.Command("dibber", "doctor", "--pod", "--json")
	cmd.Env = append(os.Environ(), "HOME="+openHome(t))
	out, _ := cmd.Output() // the pod is told wherever this runs
	var advice struct{ Pod map[string]any }
	if err := json.Unmarshal(out, &advice); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Both as YAML reads them: numbers of JSON are of another type.
	text, err := yaml.Marshal(advice.Pod)
	if err != nil {
		t.Fatal(err)
	}
	pod := readYAML(t, string(text))
	want := settings(t, inside(t, pod, "spec"), inside(t, pod, "spec.containers"))
	// What the pod has on a machine with AppArmor is a component's.
	delete(want["securityContext"].(map[string]any), "appArmorProfile")

	job := readYAML(t, readFile(t, "../../contrib/kubernetes/base/job.yaml"))
	task := readYAML(t, readFile(t, "../../contrib/tekton/task.yaml"))
	_, manual, _ := strings.Cut(readFile(t, "../../docs/kubernetes.md"), "```yaml\n")
	manual, _, _ = strings.Cut(manual, "```")
	shown := readYAML(t, manual)
	for name, got := range map[string]map[string]any{
		"the Job":    settings(t, inside(t, job, "spec.template.spec"), inside(t, job, "spec.template.spec.containers")),
		"the Task":   settings(t, inside(t, task, "spec"), inside(t, task, "spec.steps")),
		"the manual": settings(t, inside(t, shown, "spec"), inside(t, shown, "spec.containers")),
	} {
		either := maps.Clone(want)
		maps.Copy(either, got)
		for _, key := range slices.Sorted(maps.Keys(either)) {
			elsewhere := name == "the Task" && slices.Contains([]string{"hostUsers", "restartPolicy", "automountServiceAccountToken"}, key) // its runs'
			shorter := name == "the manual" && strings.Contains(key, " ") && !strings.HasPrefix(key, "volume")                              // told below it
			if !elsewhere && !shorter && !reflect.DeepEqual(got[key], want[key]) {
				t.Errorf("%s: %s is %v, and of doctor's pod %v", name, key, got[key], want[key])
			}
		}
	}
}
