package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// foreign are variables that are not settings and that this program, its
// libraries or its Makefile read: libpq's, Go's and the system's. OpenTelemetry's
// all begin with OTEL_.
var foreign = []string{
	"PGAPPNAME", "PGCHANNELBINDING", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATABASE", "PGDATA", "PGHOST", "PGHOSTADDR",
	"PGMAXPROTOCOLVERSION", "PGMINPROTOCOLVERSION", "PGOPTIONS", "PGPASSFILE", "PGPASSWORD", "PGPORT", "PGREQUIREAUTH", "PGSERVICE",
	"PGSERVICEFILE", "PGSSLCERT", "PGSSLCERTMODE", "PGSSLKEY", "PGSSLMODE", "PGSSLNEGOTIATION", "PGSSLPASSWORD", "PGSSLROOTCERT",
	"PGSSLSNI", "PGTARGETSESSIONATTRS", "PGTZ", "PGUSER",
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK",
	"HOME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEST_DATABASE_URL", "TMPDIR", "TZ", "XDG_CACHE_HOME",
}

// misspelt returns a sentence for each name in .env that is not a setting, and for
// each variable of the environment whose name is similar to a setting's. Other
// variables of the environment are for other programs. The sentences contain no
// values, because they may be secrets.
func misspelt(model *kong.Application, inFile, environment []string) (sentences []string) {
	var settings []string
	for _, flag := range model.Flags {
		settings = append(settings, flag.Tag.Envs...)
	}
	known := slices.Concat(foreign, settings, slices.Collect(maps.Keys(renamed)))
	is := func(name string) bool { return slices.Contains(known, name) || strings.HasPrefix(name, "OTEL_") }
	for _, name := range inFile {
		if is(name) {
			continue
		}
		hint := "remove it, or look for the name in `server --help`"
		if near := nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		sentences = append(sentences, fmt.Sprintf("%s in .env is not a setting: %s", name, hint))
	}
	slices.Sort(environment)
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if near := nearest(name, settings); near != "" && !is(name) && !slices.Contains(inFile, name) {
			sentences = append(sentences, fmt.Sprintf("%s in the environment is not a setting: did you mean %s?", name, near))
		}
	}
	return sentences
}

// nearest returns the known name that is most similar to name, or "". At most a
// sixth of its letters may differ, or one if it is short. So LISTENS and
// DATABSE_URI are typos, but not DATABASE_USER or systemd's LISTEN_FDS and
// LISTEN_PID.
func nearest(name string, known []string) (near string) {
	best := len(name) // above any accepted distance
	for _, k := range known {
		if d := distance(strings.ToUpper(name), k); d <= max(1, len(k)/6) && d < best {
			near, best = k, d
		}
	}
	return near
}

// distance returns how many letters must be inserted, deleted, replaced or swapped
// with their neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
