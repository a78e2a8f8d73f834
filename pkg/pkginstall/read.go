package pkginstall

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// maxFileBytes bounds one file of package-installs.
const maxFileBytes = 1 << 20

// parse reads JSON, or YAML 1.1 if it is no JSON, whatever the file is called.
func parse(file string, data []byte) (*yaml11.Node, error) {
	if !json.Valid(data) {
		return yaml11.Parse(file, data)
	}
	r := &jsonReader{file: file, data: data, decoder: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.decoder.UseNumber()
	return r.value()
}

// jsonReader makes nodes of JSON that is known to be valid, and so of no more
// than 10000 levels.
type jsonReader struct {
	file    string
	data    []byte
	decoder *json.Decoder
	counted int64 // bytes whose newlines line holds
	line    int
}

// node starts a node at the token that was read last.
func (r *jsonReader) node(kind yaml11.Kind, raw string) *yaml11.Node {
	end := r.decoder.InputOffset()
	r.line += bytes.Count(r.data[r.counted:end], []byte("\n"))
	r.counted = end
	return &yaml11.Node{Kind: kind, File: r.file, Line: r.line, Column: 1, Raw: raw}
}

func (r *jsonReader) value() (*yaml11.Node, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			return r.list()
		}
		return r.object()
	case string:
		return r.node(yaml11.String, v), nil
	case json.Number:
		if bytes.ContainsAny([]byte(v), ".eE") {
			return r.node(yaml11.Float, v.String()), nil
		}
		return r.node(yaml11.Int, v.String()), nil
	case bool:
		return r.node(yaml11.Bool, fmt.Sprint(v)), nil
	}
	return r.node(yaml11.Null, "null"), nil
}

func (r *jsonReader) list() (*yaml11.Node, error) {
	n := r.node(yaml11.List, "")
	for r.decoder.More() {
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		n.Items = append(n.Items, item)
	}
	_, err := r.decoder.Token() // the bracket that ends it
	return n, err
}

// object keeps of a name given twice the first place and the last value.
func (r *jsonReader) object() (*yaml11.Node, error) {
	n := r.node(yaml11.Map, "")
	places := map[string]int{}
	for r.decoder.More() {
		key, err := r.value()
		if err != nil {
			return nil, err
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		if i, ok := places[key.Raw]; ok {
			n.Overridden = append(n.Overridden, yaml11.Pair{Key: n.Pairs[i].Key, Value: n.Pairs[i].Value})
			n.Pairs[i].Value = value
			continue
		}
		places[key.Raw] = len(n.Pairs)
		n.Pairs = append(n.Pairs, yaml11.Pair{Key: key, Value: value})
	}
	_, err := r.decoder.Token() // the brace that ends it
	return n, err
}
