// Command template-oracle answers what Go's text/template with sprig's functions makes of templates, for differential tests.
//
// Standard input holds one JSON object a line:
//
//	{"template": "…", "data": any, "strings": true, "missingkey": "error", "left": "[[", "right": "]]"}
//
// All but the template may be missing; with "strings" the data are a map[string]string. Each is answered by one line of JSON on
// standard output, in order: {"out": HEX} or {"parse": "…"} or {"exec": "…"}, the message of a failure.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

type question struct {
	Template   string
	Data       json.RawMessage
	Strings    bool
	Missingkey string
	Left       string
	Right      string
}

func main() {
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	in.Buffer(nil, 64<<20)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for in.Scan() {
		var asked question
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := encoder.Encode(answer(asked)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func answer(asked question) (result map[string]string) {
	defer func() {
		if fault := recover(); fault != nil {
			result = map[string]string{"exec": fmt.Sprint("panic: ", fault)}
		}
	}()
	var data any
	if asked.Strings {
		strings := map[string]string{}
		if err := json.Unmarshal(asked.Data, &strings); err != nil {
			panic(err)
		}
		data = strings
	} else if len(asked.Data) > 0 {
		if err := json.Unmarshal(asked.Data, &data); err != nil {
			panic(err)
		}
	}
	functions := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(functions, name)
	}
	parsed := template.New("t").Delims(asked.Left, asked.Right).Funcs(functions)
	if asked.Missingkey != "" {
		parsed.Option("missingkey=" + asked.Missingkey)
	}
	parsed, err := parsed.Parse(asked.Template)
	if err != nil {
		return map[string]string{"parse": err.Error()}
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, data); err != nil {
		return map[string]string{"exec": err.Error()}
	}
	return map[string]string{"out": hex.EncodeToString(out.Bytes())}
}
