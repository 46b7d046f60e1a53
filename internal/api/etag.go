package api

import (
	"errors"
	"strconv"
	"strings"

	"quern/internal/store"
)

// etag returns the entity tag of a version.
func etag(version int32) string { return `"` + strconv.Itoa(int(version)) + `"` }

// maxTags limits an If-Match, because each of its tags can cost a statement.
const maxTags = 16

// precondition holds the versions that an If-Match accepts.
type precondition struct {
	any      bool // absent or *
	weak     bool // it has weak tags
	versions []int32
}

// parseIfMatch parses an If-Match header (RFC 9110, section 13.1.1). The comparison is
// strong, so weak tags never match, and neither do tags that this server did not create.
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
		// Accept only the spelling of etag, because "03" and "3" are different tags.
		if v, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 32); err == nil && etag(int32(v)) == tag {
			p.versions = append(p.versions, int32(v))
		}
	}
	return p, nil
}

// ifMatch calls a conditional act with each version that an If-Match accepts, until one is
// current. Reading the current version first would be a race.
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
		// No row has version 0, but the statement still distinguishes a version mismatch
		// from a missing id.
		versions = []int32{0}
	}
	for _, v := range versions {
		if result, err = act(&v); !errors.Is(err, store.ErrVersionMismatch) {
			return result, err
		}
	}
	if p.weak {
		// Reading again does not help a client behind a proxy that weakens tags, so the
		// detail says why.
		mismatch := newProblem(codeVersionMismatch)
		mismatch.Detail = msgWeakTag
		return result, mismatch
	}
	return result, err
}

const msgWeakTag = `If-Match has a weak entity tag (W/"…"), and a weak one never matches (RFC 9110, section 13.1.1). Send the ETag without W/. ` +
	`A proxy that compresses responses may have weakened it.`

// noneMatch reports whether an If-None-Match header (RFC 9110, section 13.1.2) lacks the
// given version. The comparison is weak. An invalid header counts as none, because the only
// cost is a full response.
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

// parseTags splits a list of entity tags. The tags keep their quotes and W/.
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
