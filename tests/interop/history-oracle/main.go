// Command history-oracle says whether what clients saw of versioned keys can be explained by doing their requests one after the other, each at
// some moment between its call and its return.
//
// Standard input holds one JSON object a line, a request:
//
//	{"client": 1, "key": "a", "call": 10, "return": 25, "op": "put", "cas": 3, "value": "x", "answer": "written", "version": 4}
//
// op      answers
// put     written (version: its number), refused (cas was not the version)
// delete  deleted
// read    found (value, version), gone (the newest version, which is deleted), none (there was never one)
//
// Each may also be answered "unknown": it was done before "return", or never. A put without "cas" follows whatever there is.
// Standard output gets {"ok": true} or {"ok": false, "keys": [those that cannot be explained]}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

type request struct {
	Client  int
	Key     string
	Call    int64
	Return  int64
	Op      string
	Cas     *int
	Value   string
	Answer  string
	Version int
}

// What a key holds.
type state struct {
	version int
	value   string
	deleted bool
}

var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(before, input, _ any) []any { return step(before.(state), input.(request)) },
}

// The states in which the key may be after a request; none if it cannot have been answered so.
func step(before state, asked request) []any {
	stays, none := []any{before}, []any{}
	switch asked.Op {
	case "put":
		allowed := asked.Cas == nil || *asked.Cas == before.version
		after := state{version: before.version + 1, value: asked.Value}
		switch {
		case asked.Answer == "unknown" && allowed:
			return []any{before, after}
		case asked.Answer == "unknown", asked.Answer == "refused" && !allowed:
			return stays
		case asked.Answer == "written" && allowed && asked.Version == after.version:
			return []any{after}
		}
		return none
	case "delete":
		after := before
		after.deleted = before.version > 0
		switch asked.Answer {
		case "unknown":
			return []any{before, after}
		case "deleted":
			return []any{after}
		}
	case "read":
		seen := map[string]state{
			"found": {version: asked.Version, value: asked.Value},
			"gone":  {version: asked.Version, value: before.value, deleted: true},
			"none":  {},
		}
		if expected, known := seen[asked.Answer]; asked.Answer == "unknown" || known && expected == before {
			return stays
		}
		return none
	}
	fail(fmt.Errorf("no request has the form of %+v", asked))
	return none
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	histories := map[string][]porcupine.Operation{}
	for in.Scan() {
		var asked request
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			fail(err)
		}
		if asked.Return < asked.Call || asked.Key == "" {
			fail(fmt.Errorf("no request is like %+v", asked))
		}
		operation := porcupine.Operation{ClientId: asked.Client, Input: asked, Call: asked.Call, Return: asked.Return}
		histories[asked.Key] = append(histories[asked.Key], operation)
	}
	if err := in.Err(); err != nil {
		fail(err)
	}
	wrong := []string{}
	for _, key := range slices.Sorted(maps.Keys(histories)) {
		switch porcupine.CheckOperationsTimeout(model.ToModel(), histories[key], time.Minute) {
		case porcupine.Ok:
		case porcupine.Illegal:
			wrong = append(wrong, key)
		default:
			fail(fmt.Errorf("the history of %s takes too long to check", key))
		}
	}
	answer, err := json.Marshal(map[string]any{"ok": len(wrong) == 0, "keys": wrong})
	if err != nil {
		fail(err)
	}
	fmt.Println(string(answer))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
