package api

import (
	"errors"
	"strconv"
	"strings"

	"quern/internal/store"
)

// etag returns the entity tag of a version.
func etag(version int32) string { return `"` + strconv.Itoa(int(version)) + `"` }

// maxTags bounds an If-Match, because each of its tags can cost a statement.
const maxTags = 16

// precondition is the versions that an If-Match accepts.
type precondition struct {
	any      bool // absent or *
	weak     bool // it has weak tags
	versions []int32
}

// parseIfMatch reads an If-Match header (RFC 9110, section 13.1.1). It compares
// strongly, so a weak tag matches nothing, and neither does a tag we never made.
func parseIfMatch(header string) (precondition, error) {
	if header == "" || header == "*" {
		return precondition{any: true}, nil
	}
	tags, ok := parseTags(header)
	if !ok || len(tags) > maxTags {
		return precondition{}, newProblem(codeInvalidETag)
	}
	var p precondition
	for _, tag := range tags {
		tag = plainTag(tag)
		p.weak = p.weak || strings.HasPrefix(tag, "W/")
		// Only the spelling that etag writes: "03" is another tag than "3".
		if v, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 32); err == nil && etag(int32(v)) == tag {
			p.versions = append(p.versions, int32(v))
		}
	}
	return p, nil
}

// ifMatch runs a conditional act for the versions that an If-Match accepts, until it
// finds one of them current. Asking which is current first would be a race.
func ifMatch[T any](header string, act func(ifVersion *int32) (T, error)) (result T, err error) {
	p, err := parseIfMatch(header)
	if err != nil {
		return result, err
	}
	if p.any {
		return act(nil)
	}
	versions := p.versions
	if len(versions) == 0 {
		// No row has version 0. The statement still tells a version mismatch
		// from an id that does not exist.
		versions = []int32{0}
	}
	for _, v := range versions {
		if result, err = act(&v); !errors.Is(err, store.ErrVersionMismatch) {
			return result, err
		}
	}
	if p.weak {
		// Reading again does not help a client behind a proxy that weakens tags.
		mismatch := newProblem(codeVersionMismatch)
		mismatch.Detail = msgWeakTag
		return result, mismatch
	}
	return result, err
}

const msgWeakTag = `If-Match has a weak entity tag (W/"…"), and a weak one never matches (RFC 9110, section 13.1.1). Send the ETag without W/. ` +
	`A proxy that compresses responses may have weakened it.`

// noneMatch reports whether an If-None-Match header (RFC 9110, section 13.1.2)
// asks for anything but the given version. It compares weakly. A header that
// cannot be read is as good as none: the answer is only longer than it had to be.
func noneMatch(header string, version int32) bool {
	if header == "*" {
		return false
	}
	tags, _ := parseTags(header)
	for _, tag := range tags {
		if plainTag(strings.TrimPrefix(tag, "W/")) == etag(version) {
			return false
		}
	}
	return true
}

// parseTags splits a list of entity tags, quotes and weakness included.
func parseTags(header string) (tags []string, ok bool) {
	for rest := header; ; {
		rest = strings.TrimLeft(rest, " \t")
		start := len(rest)
		tag := strings.TrimPrefix(rest, "W/")
		if !strings.HasPrefix(tag, `"`) {
			return nil, false
		}
		inside, after, closed := strings.Cut(tag[1:], `"`)
		if !closed || strings.ContainsFunc(inside, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return nil, false
		}
		tags = append(tags, rest[:start-len(after)])
		rest = strings.TrimLeft(after, " \t")
		if rest == "" {
			return tags, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		rest = rest[1:]
	}
}
