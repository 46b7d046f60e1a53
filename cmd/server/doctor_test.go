package main

import (
	"bytes"
	"net/url"
	"regexp"
	"testing"

	"quern/internal/storetest"
)

// If there are several hosts, doctor reports the role of each.
func TestDoctor_Hosts(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(storetest.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Host += ",127.0.0.1:1"
	c := command(t, t.TempDir(), []string{"DATABASE_URL=" + u.String()}, "doctor")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		t.Errorf("%v: %s", err, c.stderr)
	}
	for _, want := range []string{
		`(?m)^  host [0-9.]+:[0-9]+ +primary on timeline [0-9]+, system identifier [0-9]+$`,
		`(?m)^  host 127\.0\.0\.1:1 +no answer$`,
		`(?m)^  note +host 127\.0\.0\.1:1: .*refused`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%s is missing in:\n%s", want, out.String())
		}
	}
}
