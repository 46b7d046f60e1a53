#!/usr/bin/env bash
# huma documents an integer, lets 30.0 pass its validation, and then refuses the whole body for it.
#
# Versions: huma 2.37.2.
# Expected: JSON Schema, and so OpenAPI 3.1, counts every number without a fraction as an integer: 30, 30.0 and 3e1 are equal.
#   A value that violates the schema is refused like other faults, at the member's location.
# Seen: 30.5 is refused by the validator at body.age. 30.0 and 3e1 pass the validator and are refused afterwards by the decoder:
#   422 at location "body", in words about Go's struct fields, with the whole body echoed as the value.
# Why it matters: clients in languages with one number type may write 30.0 (or 1e6), and generated clients check against the
#   published schema. The fault is reported without its place, and the answer repeats the whole body.
# Output:
#   OpenAPI: {"format":"int64","minimum":0,"type":"integer"}
#   30:   204
#   30.5: 422 at body.age: expected integer, value 30.5
#   30.0: 422 at body: json: cannot unmarshal number 30.0 into Go struct field .age of type int, value {"name": "Ann", "age": 30.0}
#   3e1:  422 at body: json: cannot unmarshal number 3e1 into Go struct field .age of type int, value {"name": "Ann", "age": 3e1}
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/danielgtaylor/huma/v2@v2.37.2
cat >main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type input struct {
	Body struct {
		Name string `json:"name"`
		Age  int    `json:"age" minimum:"0"`
	}
}

// post returns the status, and the location and value of the first fault.
func post(mux http.Handler, age string) string {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/people", strings.NewReader(`{"name": "Ann", "age": `+age+`}`))
	r.Header.Set("Content-Type", "application/json")
	mux.ServeHTTP(w, r)
	var problem struct {
		Errors []struct{ Location, Message, Value any }
	}
	if w.Code < 300 {
		return fmt.Sprint(w.Code)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || len(problem.Errors) == 0 {
		panic(w.Body.String())
	}
	fault := problem.Errors[0]
	return fmt.Sprintf("%d at %v: %v, value %v", w.Code, fault.Location, fault.Message, fault.Value)
}

func main() {
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("People", "1"))
	huma.Post(api, "/people", func(context.Context, *input) (*struct{}, error) { return nil, nil })
	schema, err := json.Marshal(api.OpenAPI().Components.Schemas.Map()["InputBody"].Properties["age"])
	if err != nil {
		panic(err)
	}
	whole, fraction, point, exponent := post(mux, "30"), post(mux, "30.5"), post(mux, "30.0"), post(mux, "3e1")
	fmt.Printf("OpenAPI: %s\n30:   %s\n30.5: %s\n30.0: %s\n3e1:  %s\n", schema, whole, fraction, point, exponent)
	late := func(answer string) bool {
		return strings.HasPrefix(answer, "422 at body: ") && strings.Contains(answer, `"name": "Ann"`)
	}
	if whole != "204" || !strings.HasPrefix(fraction, "422 at body.age: ") || !late(point) || !late(exponent) {
		fmt.Println("changed: 30.0 and 3e1 should be refused at body, with the body as the value")
		os.Exit(1)
	}
}
GO
go run . || exit 1
