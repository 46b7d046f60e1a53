package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIndex(t *testing.T) {
	t.Parallel()
	const text = `Package: 0ad
Maintainer: Débian Games <games@lists.example.org>
Description: Real-time strategy
 of ancient warfare
 .
 with ships
Tag: game::strategy,
 role::program
Section: games

Package: 0ad-data
Maintainer: Games <games@lists.example.org>
Section: games
Description:

Package: bare
Maintainer: bare@example.org`
	idx, err := parseIndex(strings.NewReader(text), 10)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*maintainer{
		"games@lists.example.org": {username: "games@lists.example.org", email: "Débian Games <games@lists.example.org>", posts: []post{
			{Title: "0ad", Content: "Real-time strategy\n of ancient warfare\n .\n with ships", Tags: []string{"games", "game::strategy", "role::program"}},
			{Title: "0ad-data", Tags: []string{"games"}},
		}},
		"bare@example.org": {username: "bare@example.org", email: "bare@example.org", posts: []post{{Title: "bare", Tags: []string{}}}},
	}
	if diff := cmp.Diff(want, idx.maintainers, cmp.AllowUnexported(maintainer{})); diff != "" || idx.packages != 3 {
		t.Errorf("%d packages (-want +got):\n%s", idx.packages, diff)
	}

	if idx, err := parseIndex(strings.NewReader(text), 2); err != nil || idx.packages != 2 {
		t.Errorf("it did not stop at 2: %d, %v", idx.packages, err)
	}
}

func TestIdentity_Long(t *testing.T) {
	t.Parallel()
	a, emailA := identity(strings.Repeat("N", 80) + " <" + strings.Repeat("a", 60) + "@example.org>")
	b, _ := identity("<" + strings.Repeat("a", 60) + "@example.com>")
	if len(a) != 50 || len(b) != 50 || a == b {
		t.Errorf("got %q and %q, want two of 50 characters", a, b)
	}
	if want := strings.Repeat("a", 60) + "@example.org"; emailA != want {
		t.Errorf("got the email %q, want %q", emailA, want)
	}
}
