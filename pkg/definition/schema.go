package definition

import (
	"bytes"
	"encoding/json"
)

// Schema gives the JSON Schema of a file of definitions, for editors and checkers.
func Schema() []byte {
	var properties []byte
	for i, p := range Properties() {
		if i > 0 {
			properties = append(properties, ',')
		}
		properties = append(properties, encode(p.Key)...)
		properties = append(properties, ':')
		properties = append(properties, encode(p.schema())...)
	}
	text := encode(fileSchema{
		Schema:      "https://json-schema.org/draft/2020-12/schema",
		Title:       "Image definitions",
		Description: "Images that diskimage-builder, or dibber build, makes from this file. Entries of the same imagename are merged; one without belongs to the one before it.",
		Type:        "array",
		Items: imageSchema{
			Type:                 "object",
			Properties:           append(append([]byte{'{'}, properties...), '}'),
			AdditionalProperties: false,
		},
	})
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		panic("bug: the schema is no JSON: " + err.Error())
	}
	out.WriteByte('\n')
	return out.Bytes()
}

type fileSchema struct {
	Schema      string      `json:"$schema"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Type        string      `json:"type"`
	Items       imageSchema `json:"items"`
}

type imageSchema struct {
	Type                 string          `json:"type"`
	Properties           json.RawMessage `json:"properties"`
	AdditionalProperties bool            `json:"additionalProperties"`
}

// valueSchema is that of one property.
type valueSchema struct {
	Description          string       `json:"description,omitempty"`
	Type                 string       `json:"type"`
	Enum                 any          `json:"enum,omitempty"`
	Minimum              int          `json:"minimum,omitempty"`
	Items                *valueSchema `json:"items,omitempty"`
	AdditionalProperties *valueSchema `json:"additionalProperties,omitempty"`
}

func (p Property) schema() valueSchema {
	text := &valueSchema{Type: "string"}
	if p.Choices != nil {
		text.Enum = p.Choices
	}
	s := valueSchema{Type: "string", Enum: text.Enum}
	switch p.Kind {
	case Flag:
		s = valueSchema{Type: "boolean"}
	case Count:
		var counts []int
		for n := range maxCount + 1 {
			counts = append(counts, n)
		}
		s = valueSchema{Type: "integer", Enum: counts}
	case Number:
		s = valueSchema{Type: "integer", Minimum: 1}
	case List:
		s = valueSchema{Type: "array", Items: text}
	case Map:
		s = valueSchema{Type: "object", AdditionalProperties: text}
	}
	s.Description = p.Help
	return s
}

// encode gives JSON of what JSON can hold.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("bug: encoding the schema: " + err.Error())
	}
	return text
}
