package store

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// The limits of stored values. Lengths are in characters, as PostgreSQL's char_length
// counts them. The tables enforce most of them too. An import checks them first, because a
// table rejects a statement without naming the row. TestLimits of package api compares
// them, and those of requests, with the tables.
const (
	MaxUsername = 50
	MaxEmail    = 100
	MaxAge      = 150
	MaxTitle    = 200
	MaxTags     = 100 // maximum number of tags
	MaxTag      = 100 // maximum length of a tag

	// MaxID is the greatest id: the largest integer that JavaScript's numbers hold exactly.
	// The sequences end there too.
	MaxID = 1<<53 - 1

	// maxMovingID is the greatest id that an import may move the sequence to, so that
	// generated ids have room up to MaxID. A sequence alone never gets that far, because
	// that takes 2^52 rows.
	maxMovingID = MaxID - 1<<32

	// crowdedID is the id from which a sequence that an import has moved is close to the
	// ids above maxMovingID.
	crowdedID = maxMovingID - 1<<31
)

// checkText returns why a text is invalid: it must have between least and most characters.
// A most of -1 means no limit.
func checkText(text []byte, least, most int) (reason string) {
	if !utf8.Valid(text) {
		return "is not UTF-8"
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return "has a NUL character, which PostgreSQL cannot store"
	}
	// A text has at most as many characters as bytes.
	if len(text) < least || most >= 0 && len(text) > most {
		switch n := utf8.RuneCount(text); {
		case n < least:
			return "is empty"
		case most >= 0 && n > most:
			return fmt.Sprintf("has %d characters, and may have %d", n, most)
		}
	}
	return ""
}

// parseTags parses a JSON array of tags, which it keeps in to.
func parseTags(text []byte, to *texts) (tags []string, reason string) {
	if !utf8.Valid(text) {
		return nil, "is not UTF-8"
	}
	tags = to.begin()
	reason = rowfile.ParseStrings(text, func(tag []byte) string {
		if reason := checkText(tag, 0, MaxTag); reason != "" {
			return fmt.Sprintf("tag %d %s", len(tags)+1, reason)
		}
		if len(tags) == MaxTags {
			return fmt.Sprintf("has more than %d tags", MaxTags)
		}
		tags = append(tags, to.keep(tag))
		return ""
	})
	if reason != "" {
		return nil, reason
	}
	return to.end(tags), ""
}

// parseInt parses an integer between least and most. It accepts a fraction of zeros and an
// exponent, because spreadsheets and pandas write integers of a column with gaps in that
// form.
func parseInt(text []byte, least, most int64) (n int64, reason string) {
	n, whole, fits := jsonfmt.Int(text)
	switch {
	case !whole:
		return 0, "is not an integer"
	case !fits || n < least || n > most:
		return 0, fmt.Sprintf("is not between %d and %d", least, most)
	}
	return n, ""
}
