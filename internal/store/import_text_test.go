package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTexts keeps texts and lists over several blocks. Later ones must not change earlier ones.
func TestTexts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all texts
		var given, kept []string
		var givenLists, lists [][]string
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.IntRange(0, 3*textBlock), func(n int) string { return strings.Repeat("x", n) }))
		for range rapid.IntRange(1, 60).Draw(t, "rows") {
			s := text.Draw(t, "text")
			buffer := []byte(s)
			given, kept = append(given, s), append(kept, all.keep(buffer))
			clear(buffer)
			list, want := all.begin(), []string{}
			for range rapid.IntRange(0, MaxTags).Draw(t, "tags") {
				want = append(want, s[:min(len(s), 3)])
				list = append(list, all.keep([]byte(want[len(want)-1])))
			}
			if rapid.Bool().Draw(t, "valid") {
				givenLists, lists = append(givenLists, want), append(lists, all.end(list))
			}
			if rapid.IntRange(0, 19).Draw(t, "next chunk") == 0 {
				all.reset()
			}
		}
		if diff := cmp.Diff(given, kept); diff != "" {
			t.Errorf("texts (-given +kept):\n%s", diff)
		}
		if diff := cmp.Diff(givenLists, lists); diff != "" {
			t.Errorf("lists (-given +kept):\n%s", diff)
		}
		for _, l := range lists {
			if cap(l) != len(l) {
				t.Errorf("a list of %d has room for %d: append would change another one", len(l), cap(l))
			}
		}
	})
}

// TestInOrderOf compares the order by prefixes with that of whole texts.
func TestInOrderOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		common := rapid.StringN(0, 12, -1).Draw(t, "common")
		rest := rapid.OneOf(rapid.StringN(0, 3, -1), rapid.StringMatching(`[ab\x00]{0,12}`), rapid.Just("\xff\xff"))
		c := &chunk[userRow]{}
		for _, r := range rapid.SliceOfN(rest, 0, 40).Draw(t, "rests") {
			c.rows = append(c.rows, userRow{username: common + r})
		}
		want := slices.Clone(c.inOrder(func(a, b *userRow) int { return strings.Compare(a.username, b.username) }))
		got := c.inOrderOf(func(u *userRow) string { return u.username })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order (-of texts +of prefixes):\n%s", diff)
		}
	})
}
