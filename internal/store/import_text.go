package store

import "strings"

// texts keeps the texts of a chunk's rows in a few blocks. An allocation for each text took
// a tenth of the time of an import, and left ten times as much garbage.
type texts struct {
	block strings.Builder
	lists []string // the tags of several rows
}

// The sizes of a block: of texts in bytes, and of tags. A tag takes 16 bytes here.
const (
	textBlock = 64 << 10
	listBlock = 4 << 10
)

// keep returns a copy of a text. A string keeps its block in memory.
func (t *texts) keep(text []byte) string {
	if t.block.Cap()-t.block.Len() < len(text) {
		t.block.Reset() // without effect on the strings that share its memory
		t.block.Grow(max(textBlock, len(text)))
	}
	from := t.block.Len()
	t.block.Write(text)
	return t.block.String()[from:]
}

// begin returns an empty list with room for MaxTags. end must be called before the next one
// begins.
func (t *texts) begin() []string {
	if cap(t.lists)-len(t.lists) < MaxTags {
		t.lists = make([]string, 0, listBlock)
	}
	return t.lists[len(t.lists):]
}

// end returns the list with its final elements.
func (t *texts) end(list []string) []string {
	t.lists = t.lists[:len(t.lists)+len(list)]
	return list[:len(list):len(list)]
}

// reset releases the memory. The strings and lists stay valid.
func (t *texts) reset() {
	t.block.Reset()
	t.lists = nil
}
