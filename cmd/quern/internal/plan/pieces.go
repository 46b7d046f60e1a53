package plan

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Piece is one migration.
type Piece struct {
	Up, Down []Statement
	NoTx     bool // it has a statement that cannot run in a transaction

	// Notes are further lines for its head.
	Notes []string

	// NotUndone lists what Down does not restore.
	NotUndone []string
}

var (
	concurrently = regexp.MustCompile(`(?i)^\s*(CREATE|DROP|REINDEX)\b.*\bCONCURRENTLY\b|^\s*ALTER TABLE\b.*\bDETACH PARTITION\b.*\bCONCURRENTLY\b`)
	validates    = regexp.MustCompile(`(?i)^\s*ALTER (TABLE|DOMAIN)\b.*\bVALIDATE CONSTRAINT\b`)
	addsLabel    = regexp.MustCompile(`(?i)^\s*ALTER TYPE\b.*\bADD VALUE\b`)
)

// split groups the statements into migrations. A statement that cannot run in a transaction has
// a separate file, because after a failure the statements before it in the file would stay
// applied. VALIDATE CONSTRAINT is in a later file than the statement that adds the constraint,
// whose lock would otherwise last through the scan. A label of an enum cannot be used in the
// transaction that adds it.
func split(list []Statement) (pieces []Piece) {
	kind := func(s Statement) int {
		switch {
		case s.New:
		case concurrently.MatchString(s.SQL):
			return 1
		case validates.MatchString(s.SQL):
			return 2
		case addsLabel.MatchString(s.SQL):
			return 3
		}
		return 0
	}
	last := -1
	for _, s := range list {
		k := kind(s)
		if k != last || k == 1 {
			pieces = append(pieces, Piece{NoTx: k == 1})
		}
		last = k
		pieces[len(pieces)-1].Up = append(pieces[len(pieces)-1].Up, s)
	}
	return pieces
}

// Pieces returns the migrations that run the statements on the database from, which Create or
// Clone made. The Down of each has the statements that restore the schema before it.
func (p *Planner) Pieces(ctx context.Context, from string, list []Statement) ([]Piece, error) {
	pieces := split(list)
	before := from
	for i := range pieces {
		piece := &pieces[i]
		after, err := p.Server.Clone(ctx, before)
		if err != nil {
			return nil, err
		}
		if err := p.Server.Exec(ctx, after, texts(piece.Up)...); err != nil {
			return nil, fmt.Errorf("run the plan on a scratch database: %w", err)
		}
		back, err := (&Planner{Server: p.Server}).Steps(ctx, after, before, piece.NoTx)
		if err != nil {
			return nil, fmt.Errorf("find the way back: %w", err)
		}
		piece.Down = back.Statements
		for _, d := range back.Left {
			piece.NotUndone = append(piece.NotUndone, d.Subject())
		}
		before = after
	}
	return pieces, nil
}

// Text returns the migration as a goose file. title is its first line.
func (p Piece) Text(title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- %s\n", title)
	for _, hazard := range append(Hazards(p.Up), p.Notes...) {
		fmt.Fprintf(&b, "-- %s\n", hazard)
	}
	b.WriteString("\n")
	if p.NoTx {
		b.WriteString("-- +goose NO TRANSACTION\n")
	}
	b.WriteString("-- +goose Up\n")
	write(&b, p.Up)
	b.WriteString("\n-- +goose Down\n")
	for _, text := range p.NotUndone {
		fmt.Fprintf(&b, "-- Not undone: %s\n", strings.Join(strings.Fields(text), " "))
	}
	for _, hazard := range Hazards(p.Down) {
		fmt.Fprintf(&b, "-- %s\n", hazard)
	}
	write(&b, p.Down)
	return b.String()
}

// Hazards returns the hazards of the statements, each once.
func Hazards(list []Statement) (all []string) {
	seen := map[string]bool{}
	for _, s := range list {
		for _, h := range s.Hazards {
			if !seen[h] {
				seen[h] = true
				all = append(all, h)
			}
		}
	}
	return all
}

// write writes statements as goose reads them. It ends a statement at each line that
// ends with a semicolon.
func write(b *strings.Builder, list []Statement) {
	for _, s := range list {
		if strings.Contains(s.SQL, ";") {
			fmt.Fprintf(b, "-- +goose StatementBegin\n%s;\n-- +goose StatementEnd\n", s.SQL)
		} else {
			fmt.Fprintf(b, "%s;\n", s.SQL)
		}
	}
}
