package proof

import (
	"errors"
	"strings"
)

// node is a node of a query tree as PostgreSQL stores it
// (src/backend/nodes/outfuncs.c). Its fields are nodes, lists or words.
type node struct {
	name   string
	fields map[string]any
}

// null is how a tree represents a field without a value.
const null = "<>"

// child returns a field that is a node, or nil.
func (n *node) child(field string) *node {
	c, _ := n.fields[field].(*node)
	return c
}

// list returns the nodes of a field that is a list.
func (n *node) list(field string) []*node {
	var nodes []*node
	all, _ := n.fields[field].([]any)
	for _, item := range all {
		if c, ok := item.(*node); ok {
			nodes = append(nodes, c)
		}
	}
	return nodes
}

// word returns a field that is a word.
func (n *node) word(field string) string {
	w, _ := n.fields[field].(string)
	return w
}

func (n *node) is(name string) bool { return n != nil && n.name == name }

// walk calls visit for a node and all nodes inside it.
func walk(value any, visit func(*node)) {
	switch v := value.(type) {
	case *node:
		visit(v)
		for _, field := range v.fields {
			walk(field, visit)
		}
	case []any:
		for _, item := range v {
			walk(item, visit)
		}
	}
}

var errTree = errors.New("the server's query tree does not parse")

// parseTree parses a pg_node_tree.
func parseTree(text string) (any, error) {
	p := treeParser{words: split(text)}
	value := p.value()
	if p.broken || len(p.words) > 0 {
		return nil, errTree
	}
	return value, nil
}

type treeParser struct {
	words  []string
	broken bool
}

func (p *treeParser) next() string {
	if len(p.words) == 0 {
		p.broken = true
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *treeParser) at(word string) bool { return len(p.words) > 0 && p.words[0] == word }

func (p *treeParser) value() any {
	switch w := p.next(); w {
	case "{":
		n := &node{name: p.next(), fields: map[string]any{}}
		for !p.broken && !p.at("}") {
			field := strings.TrimPrefix(p.next(), ":")
			if !p.at("}") {
				n.fields[field] = p.value()
			}
			// A constant's value is a length followed by its bytes in brackets.
			for !p.broken && !p.at("}") && !strings.HasPrefix(p.words[0], ":") {
				p.value()
			}
		}
		p.next()
		return n
	case "(":
		list := []any{}
		for !p.broken && !p.at(")") {
			list = append(list, p.value())
		}
		p.next()
		return list
	default:
		return w
	}
}

// split splits a tree into words like pg_strtok.
func split(text string) (words []string) {
	const blank, special = " \n\t", "(){}"
	for i := 0; i < len(text); {
		switch {
		case strings.IndexByte(blank, text[i]) >= 0:
			i++
			continue
		case strings.IndexByte(special, text[i]) >= 0:
			words = append(words, text[i:i+1])
			i++
			continue
		}
		start := i
		for i < len(text) && strings.IndexByte(blank+special, text[i]) < 0 {
			if text[i] == '\\' {
				i++
			}
			i++
		}
		words = append(words, strings.ReplaceAll(text[start:min(i, len(text))], `\`, ""))
	}
	return words
}
