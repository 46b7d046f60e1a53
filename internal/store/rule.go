package store

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"quern/internal/jsonfmt"
	"quern/internal/rowfile"
)

// The limits of what is stored. Lengths are in characters, as PostgreSQL's
// char_length counts them. The tables hold most of them too; an import checks
// them first, because a table refuses a statement and does not say which row.
// TestLimits of package api holds them, and those of requests, to the tables.
const (
	MaxUsername = 50
	MaxEmail    = 100
	MaxAge      = 150
	MaxTitle    = 200
	MaxTags     = 100 // how many of them
	MaxTag      = 100 // how long each is

	// MaxID is the greatest id that there is: the largest integer that JavaScript's
	// numbers hold exactly. The sequences end there, too.
	MaxID = 1<<53 - 1

	// maxMovingID is the greatest id of an import that moves the sequence, so that the
	// ids that are drawn have room up to MaxID. No sequence comes near a higher one by
	// itself: that takes 2^52 rows.
	maxMovingID = MaxID - 1<<32

	// crowdedID is where a sequence, if an import moves it there, comes close to
	// the ids above maxMovingID.
	crowdedID = maxMovingID - 1<<31
)

// checkText says what is wrong with a text of least to most characters; most
// of -1 is no limit.
func checkText(text []byte, least, most int) (reason string) {
	if !utf8.Valid(text) {
		return "is not UTF-8"
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return "has a NUL character, which PostgreSQL cannot store"
	}
	// There are at most as many characters as bytes.
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

// parseTags reads a JSON array of tags.
func parseTags(text []byte) (tags []string, reason string) {
	if !utf8.Valid(text) {
		return nil, "is not UTF-8"
	}
	tags = []string{}
	reason = rowfile.ParseStrings(text, func(tag []byte) string {
		if reason := checkText(tag, 0, MaxTag); reason != "" {
			return fmt.Sprintf("tag %d %s", len(tags)+1, reason)
		}
		if len(tags) == MaxTags {
			return fmt.Sprintf("has more than %d tags", MaxTags)
		}
		tags = append(tags, string(tag))
		return ""
	})
	if reason != "" {
		return nil, reason
	}
	return tags, ""
}

// parseInt reads an integer of least to most. It may be written with a fraction of
// zeros or with an exponent, as spreadsheets and pandas write the integers of a
// column that has gaps.
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
