package definition

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestTheSchemaInTheDocumentationIsThatOfTheTable(t *testing.T) {
	const file = "../../docs/schema/diskimage-builder.json"
	there, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(there, Schema()) {
		t.Errorf("dibber build --schema >%s makes it anew: it differs (%v)", file, err)
	}
}

// node is a part of a schema.
type node struct {
	Type                 string
	Enum                 []any
	Minimum              *float64
	Items                *node
	AdditionalProperties json.RawMessage
	Properties           map[string]*node
}

func TestTheSchemaSaysWhatTheTableSays(t *testing.T) {
	var root node
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	if root.Type != "array" || root.Items.Type != "object" || string(root.Items.AdditionalProperties) != "false" {
		t.Errorf("the frame is %+v", root)
	}
	found := root.Items.Properties
	if len(found) != len(Properties()) {
		t.Errorf("%d properties, not %d", len(found), len(Properties()))
	}
	types := map[Kind]string{Text: "string", Flag: "boolean", Count: "integer", Number: "integer", List: "array", Map: "object"}
	for _, p := range Properties() {
		s := found[p.Key]
		if s == nil || s.Type != types[p.Kind] {
			t.Errorf("%s: %+v", p.Key, s)
			continue
		}
		text := s
		switch p.Kind {
		case Count:
			if !slices.Equal(s.Enum, []any{0.0, 1.0, 2.0}) {
				t.Errorf("%s: %v", p.Key, s.Enum)
			}
			continue
		case Number:
			if s.Minimum == nil || *s.Minimum != 1 {
				t.Errorf("%s: %v", p.Key, s.Minimum)
			}
		case List:
			text = s.Items
		case Map:
			if text = new(node); json.Unmarshal(s.AdditionalProperties, text) != nil {
				t.Errorf("%s: %s", p.Key, s.AdditionalProperties)
			}
		}
		if (p.Kind == Text || p.Kind == List || p.Kind == Map) && text.Type != "string" {
			t.Errorf("%s holds %q", p.Key, text.Type)
		}
		var choices []any
		for _, c := range p.Choices {
			choices = append(choices, c)
		}
		if !slices.Equal(text.Enum, choices) {
			t.Errorf("%s: %v", p.Key, text.Enum)
		}
	}
}

// accepted are files that are definitions.
func accepted() []string {
	return []string{
		"[]\n", "- {}\n", "- {imagename: a, elements: [centos, vm]}\n- {ramdisk: true}\n", "- logfile: \"\"\n",
		"- {environment: {A: b, C: \"1\"}, debug-trace: 2, image-size: 40, qemu-img-options: {size: \"10\"}}\n",
		"- {skip-base: yes, no-tmpfs: off, types: [qcow2, raw], packages: []}\n", "- image-size: 40.0\n", "- debug-trace: 1.0\n",
		"- {arch: x86_64, install-type: source, types: [aci, docker, squashfs, tgz, vhd]}\n",
	}
}

// stricter are files that the schema lets pass and nothing can be made of.
func stricter() []string {
	return []string{
		"- environment: {1: a}\n", "- environment: {\"\": a}\n", "- environment: {\"a=b\": a}\n", "- environment: {A: \"a\\0b\"}\n",
	}
}

// A program of others that knows schemas, and YAML as diskimage-builder reads it,
// takes and refuses the same files.
func TestAnotherReaderOfTheSchemaAgrees(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(python, "-c", "import jsonschema, yaml").Run()
	}
	if err != nil {
		t.Skip("python3-jsonschema and python3-yaml are not installed: ", err)
	}
	files := map[string]bool{}
	for text := range refused() {
		if !slices.Contains(stricter(), text) {
			files[text] = false
		}
	}
	for _, text := range append(accepted(), stricter()...) {
		files[text] = true
	}
	question, err := json.Marshal(map[string]any{"schema": json.RawMessage(Schema()), "files": files})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", `
import json, sys, jsonschema, yaml
question = json.load(sys.stdin)
validator = jsonschema.validators.validator_for(question["schema"])
validator.check_schema(question["schema"])
for text, good in question["files"].items():
    try:
        validator(question["schema"]).validate(yaml.safe_load(text))
        found = True
    except (jsonschema.ValidationError, yaml.YAMLError):
        found = False
    if found != good:
        print("%r: accepted %s" % (text, found))
`)
	cmd.Stdin = bytes.NewReader(question)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s%v", out, err)
	}
	for _, text := range accepted() {
		if _, _, err := Read(File{"f", []byte(text)}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
