// Command yaml-oracle answers what sops sees in a YAML text, for differential tests.
//
// Standard input holds frames: a length (4 bytes, little endian), then that many bytes of YAML. Each is answered by one
// line of JSON on standard output, in order:
//
//	{"error": "…"}                    sops refuses the text
//	{"docs": [MAP, …]}                what it sees
//	{"docs": […], "strict": "…"}      the same, but a document after the first has a fault that sops looks for in the first only
//
// MAP is {"m": [ENTRY, …]}. ENTRY is {"#": HEX} (a comment) or {"k": HEX, "v": VALUE}; "k" is null for a key that is not a
// string. VALUE is MAP, {"l": [VALUE or comment, …]}, {"s": HEX}, {"i": "5"}, {"f": bits as HEX}, {"b": true}, {"t": "RFC 3339"} or
// {"n": 0}. HEX is the bytes in hexadecimal.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type object map[string]any

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for {
		var size uint32
		if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
			return
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(in, text); err != nil {
			fmt.Fprintln(os.Stderr, "a frame is cut short")
			os.Exit(1)
		}
		if err := encoder.Encode(answer(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// A driver may wait for each answer.
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

func answer(text []byte) (result object) {
	defer func() {
		if fault := recover(); fault != nil {
			result = object{"error": fmt.Sprint("panic: ", fault)}
		}
	}()
	// sops reads the first document into a map for the sake of its checks, then every document as nodes.
	if len(text) > 0 {
		if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(make(map[string]any)); err != nil {
			return object{"error": err.Error()}
		}
	}
	documents, strict := []any{}, ""
	steps = 0
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if err == io.EOF {
			break
		}
		if err != nil {
			return object{"error": err.Error()}
		}
		if err := document.Decode(make(map[string]any)); err != nil && strict == "" {
			strict = err.Error()
		}
		if strict != "" {
			// What follows could be an endless expansion.
			continue
		}
		tree, err := root(&document)
		if err != nil {
			return object{"error": err.Error()}
		}
		documents = append(documents, tree)
	}
	if strict != "" {
		return object{"docs": documents, "strict": strict}
	}
	return object{"docs": documents}
}

// root gives a document's entries: its own comments stand around its map's.
func root(document *yaml.Node) (any, error) {
	entries := comments(nil, document.HeadComment, document.LineComment)
	for _, node := range document.Content {
		var err error
		if entries, err = rootNode(node, entries); err != nil {
			return nil, err
		}
	}
	return object{"m": list(comments(entries, document.FootComment))}, nil
}

func rootNode(node *yaml.Node, entries []any) ([]any, error) {
	switch node.Kind {
	case yaml.AliasNode:
		return rootNode(node.Alias, comments(entries, node.HeadComment, node.LineComment))
	case yaml.MappingNode:
		inner, err := mapping(node, entries, false)
		return inner, err
	case yaml.ScalarNode:
		if node.ShortTag() == "!!null" {
			return comments(entries, node.HeadComment, node.LineComment), nil
		}
	}
	return nil, fmt.Errorf("the root is no map")
}

// mapping appends a map's entries. Its own comments stand inside, unless what holds the map has taken them.
func mapping(node *yaml.Node, entries []any, taken bool) ([]any, error) {
	if !taken {
		entries = comments(entries, node.HeadComment, node.LineComment)
	}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		single := value.Kind == yaml.ScalarNode || value.Kind == yaml.AliasNode
		entries = comments(entries, key.HeadComment, key.LineComment)
		if single {
			entries = comments(entries, value.HeadComment, value.LineComment)
		}
		var name any
		// sops ignores the error, too.
		_ = key.Decode(&name)
		content, err := tree(value, single)
		if err != nil {
			return nil, err
		}
		entry := object{"k": nil, "v": content}
		if text, ok := name.(string); ok {
			entry["k"] = hex.EncodeToString([]byte(text))
		}
		entries = append(entries, entry)
		if single {
			entries = comments(entries, value.FootComment)
		}
		entries = comments(entries, key.FootComment)
	}
	if !taken {
		entries = comments(entries, node.FootComment)
	}
	return entries, nil
}

// steps bounds what aliases repeat: an alias within its own anchor that a merge key hides from the decoder would not end.
var steps int

func tree(node *yaml.Node, taken bool) (any, error) {
	if steps++; steps > 1_000_000 {
		return nil, fmt.Errorf("sops would not come to an end")
	}
	switch node.Kind {
	case yaml.AliasNode:
		return tree(node.Alias, false)
	case yaml.MappingNode:
		entries, err := mapping(node, nil, taken)
		return object{"m": list(entries)}, err
	case yaml.SequenceNode:
		var items []any
		if !taken {
			items = comments(items, node.HeadComment, node.LineComment)
		}
		for _, item := range node.Content {
			items = comments(items, item.HeadComment, item.LineComment)
			content, err := tree(item, true)
			if err != nil {
				return nil, err
			}
			items = comments(append(items, content), item.FootComment)
		}
		if !taken {
			items = comments(items, node.FootComment)
		}
		return object{"l": list(items)}, nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, err
	}
	return scalar(value)
}

func scalar(value any) (any, error) {
	switch value := value.(type) {
	case nil:
		return object{"n": 0}, nil
	case bool:
		return object{"b": value}, nil
	case int:
		return object{"i": strconv.Itoa(value)}, nil
	case float64:
		bits := math.Float64bits(value)
		if math.IsNaN(value) {
			bits = 0x7ff8000000000000
		}
		return object{"f": fmt.Sprintf("%016x", bits)}, nil
	case string:
		return object{"s": hex.EncodeToString([]byte(value))}, nil
	case time.Time:
		return object{"t": value.Format(time.RFC3339Nano)}, nil
	}
	return nil, fmt.Errorf("sops has no type for a %T", value)
}

// comments appends one entry a line, without the leading '#'.
func comments(entries []any, texts ...string) []any {
	for _, text := range texts {
		for _, line := range strings.Split(text, "\n") {
			if line != "" {
				entries = append(entries, object{"#": hex.EncodeToString([]byte(line[1:]))})
			}
		}
	}
	return entries
}

func list(entries []any) []any {
	if entries == nil {
		return []any{}
	}
	return entries
}
