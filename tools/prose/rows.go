package main

import (
	"regexp"
	"strings"
)

// A row is one kind of word that is counted.
type row struct {
	name   string
	wanted bool // the word makes a text plainer, so more is better
	find   *regexp.Regexp
	except *regexp.Regexp // matches around an occurrence that are good English; nil for none
}

// rows are the kinds of words, in the order of the table.
var rows = []row{
	{
		name: `what is, what it, what the ...`, find: words(`what(ever)? (is|was|are|were|has|it|its|they|the|this|that|these|a|an|he|one)`),
		except: words(`what(ever)? (the|a|an) (heck|hell)`),
	},
	{name: `nobody, whoever, somebody`, find: words(`nobody|who(m)?ever|somebody`)},
	{name: `stands`, find: words(`stands?|stood`), except: words(`stand[- ](alone|by|in)`)},
	{
		name: `behind, meaning after`, find: words(`behind`),
		except: words(`(far|queue|queued|statements|nothing|fall|falls|fallen|falling|lag|lags|lagging|is|are|was|be|bytes|left|leave|leaves|leaving|motivation|idea|reason|reasoning|logic) (too )?behind|behind (the scenes|a (proxy|pooler|load balancer|flag|build tag)|an? (interface|mutex|lock|(transaction|connection) pooler|reverse proxy|waiting)|pgbouncer)`),
	},
	{
		name: `", for", meaning because`, find: regexp.MustCompile(`(?i), for (?:(?:the|a|an|its|their|this|that|these|those|no|some|one) [\w-]+ (?:is|are|was|were|has|have|had|may|can|would|must|does|do|will|cannot|never)|(?:it|they|there|he|we|you|nobody|what|who|whoever) \w+|then)\b`),
		except: words(`for what it's worth`),
	},
	{
		name: `else, meaning otherwise`, find: words(`else`),
		except: words(`(any|some|every|no)(thing|one|body|where) else|(nothing|none|what|who|or|whose|where|all|much|little) else|else (if|branch|clause|block|statement|case|nil)|if/else|if-else`),
	},
	{name: `of its own`, find: words(`of (its|their|his|our|my|your) own`)},
	{
		name: `has X do`, find: regexp.MustCompile(`\b(?i:has|have|having|had) (?:it|them|him|her|us|you|each|all|both|others?|(?:the|a|an|each|every|its|their|his|this|that|those|these|all|both|one|another|no|any|some) (?:[\w-]+ )?[\w-]+|[A-Z]\w+) ` + bare + `\b`),
		except: words(`to ` + bare),
	},
	{name: `if`, wanted: true, find: words(`if`)},
	{name: `must, should`, wanted: true, find: words(`must|should`)},
	{name: `because`, wanted: true, find: words(`because`)},
	{name: `colons and semicolons`, find: regexp.MustCompile(`[:;](\s|$)`)},
}

// bare are infinitives that may follow "has it": "has the pool close them".
const bare = `(?:answer|ask|be|become|begin|call|close|come|do|drop|end|expire|fail|fall|follow|get|give|go|hold|keep|know|leave|let|look|make|open|put|read|return|retry|roll|run|say|see|send|serve|set|show|start|stay|stop|take|tell|travel|try|use|wait|wake|work|write)`

// words returns the pattern as a whole word, in either case.
func words(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:` + pattern + `)\b`)
}

// matches returns the places in text where the row's word occurs, without its
// exceptions.
func (r row) matches(text string) [][]int {
	found := r.find.FindAllStringIndex(text, -1)
	if r.except == nil {
		return found
	}
	excepted := r.except.FindAllStringIndex(text, -1)
	kept := found[:0]
	for _, f := range found {
		good := false
		for _, e := range excepted {
			good = good || e[0] < f[1] && f[0] < e[1]
		}
		if !good {
			kept = append(kept, f)
		}
	}
	return kept
}

// around returns the text around a match, on one line.
func around(text string, match []int) string {
	from, to := max(0, match[0]-40), min(len(text), match[1]+40)
	return strings.ToValidUTF8(strings.Join(strings.Fields(text[from:to]), " "), "")
}
