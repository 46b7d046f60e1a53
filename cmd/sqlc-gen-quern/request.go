package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// request is the part of sqlc's GenerateRequest that the plugin reads
// (protos/plugin/codegen.proto in sqlc, as JSON with the proto's names).
type request struct {
	Settings struct {
		Queries []string `json:"queries"`
		Schema  []string `json:"schema"`
		Codegen struct {
			Plugin string `json:"plugin"`
			Out    string `json:"out"`
		} `json:"codegen"`
	} `json:"settings"`
	Catalog struct {
		DefaultSchema string   `json:"default_schema"`
		Schemas       []schema `json:"schemas"`
	} `json:"catalog"`
	Queries       []query `json:"queries"`
	PluginOptions []byte  `json:"plugin_options"`

	options options
	golang  *golang
	keys    schemaKeys
}

type options struct {
	Runtime string            `json:"runtime"`
	Package string            `json:"package"`
	GoTypes map[string]string `json:"go_types"`
	Models  map[string]string `json:"models"`
}

type schema struct {
	Name   string  `json:"name"`
	Tables []table `json:"tables"`
	Enums  []struct {
		Name string   `json:"name"`
		Vals []string `json:"vals"`
	} `json:"enums"`
	CompositeTypes []struct {
		Name string `json:"name"`
	} `json:"composite_types"`
}

type table struct {
	Rel     identifier `json:"rel"`
	Columns []column   `json:"columns"`
}

type query struct {
	Text            string      `json:"text"`
	Name            string      `json:"name"`
	Cmd             string      `json:"cmd"` // ":one"
	Columns         []column    `json:"columns"`
	Params          []parameter `json:"params"`
	Comments        []string    `json:"comments"` // each line after its "--"
	Filename        string      `json:"filename"` // without its directory
	InsertIntoTable *identifier `json:"insert_into_table"`
}

type parameter struct {
	Number int    `json:"number"`
	Column column `json:"column"`
}

type column struct {
	Name         string      `json:"name"`
	OriginalName string      `json:"original_name"` // the table column's name
	NotNull      bool        `json:"not_null"`
	IsArray      bool        `json:"is_array"`
	ArrayDims    int         `json:"array_dims"`
	IsNamedParam bool        `json:"is_named_param"`
	IsSqlcSlice  bool        `json:"is_sqlc_slice"`
	Table        *identifier `json:"table"`
	Type         identifier  `json:"type"`
	EmbedTable   *identifier `json:"embed_table"`
}

type identifier struct {
	Catalog string `json:"catalog"`
	Schema  string `json:"schema"`
	Name    string `json:"name"`
}

// response is sqlc's GenerateResponse. encoding/json writes the contents in
// base64, as required.
type response struct {
	Files []file `json:"files"`
}

type file struct {
	Name     string `json:"name"`
	Contents []byte `json:"contents"`
}

// readRequest reads a request and its options, with their defaults filled in.
func readRequest(r io.Reader) (*request, error) {
	var req request
	if err := json.NewDecoder(r).Decode(&req); err != nil {
		return nil, fmt.Errorf("sqlc-gen-quern: read the request: %w: sqlc.yaml must say `format: json` for this plugin", err)
	}
	if len(req.PluginOptions) > 0 {
		dec := json.NewDecoder(bytes.NewReader(req.PluginOptions))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req.options); err != nil {
			return nil, fmt.Errorf("sqlc.yaml: options of sqlc-gen-quern: %w: use runtime, package, go_types and models", err)
		}
	}
	if req.Catalog.DefaultSchema == "" {
		req.Catalog.DefaultSchema = "public"
	}
	return &req, nil
}
