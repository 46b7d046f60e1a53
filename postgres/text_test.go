package postgres_test

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres"
)

// A value of each kind comes back from its text.
func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		into any
	}{
		{"12.50", new(pgtype.Numeric)},
		{"2026-01-31", new(pgtype.Date)},
		{"2026-01-31 10:00:00", new(pgtype.Timestamp)},
		{"10:30:00.000000", new(pgtype.Time)},
		{"1 mon 2 day 03:00:00", new(pgtype.Interval)},
		{"[2026-01-01,2026-02-01)", new(pgtype.Range[pgtype.Date])},
		{"{[1,5),[7,9)}", new(pgtype.Multirange[pgtype.Range[pgtype.Int4]])},
		{"101", new(pgtype.Bits)},
		{"(1,2)", new(pgtype.Point)},
		{"10.0.0.0/8", new(netip.Prefix)},
		{"10.0.0.1", new(netip.Addr)},
		{"10.0.0.1", new(*netip.Addr)},
		{"08:00:2b:01:02:03", new(net.HardwareAddr)},
		{"00000000-0000-0000-0000-000000000001", new(uuid.UUID)},
		{"{1.5,2}", new([]pgtype.Numeric)},
		{"plain", new(string)},
		{"plain", new(*string)},
		{"plain", new(any)},
	} {
		if err := postgres.ParseText(&test.text, test.into); err != nil {
			t.Errorf("%T: %v", test.into, err)
			continue
		}
		if got := postgres.Text(reflect.ValueOf(test.into).Elem().Interface()); got == nil {
			t.Errorf("%T: NULL, want %s", test.into, test.text)
		} else if *got != test.text {
			t.Errorf("%T: %q, want %q", test.into, *got, test.text)
		}
	}
	for _, null := range []any{new(pgtype.Numeric), new(pgtype.Range[pgtype.Date]), new(any), new(*string), new(*netip.Addr), new([]pgtype.Numeric)} {
		if err := postgres.ParseText(nil, null); err != nil {
			t.Errorf("%T: %v", null, err)
		}
		if got := postgres.Text(reflect.ValueOf(null).Elem().Interface()); got != nil {
			t.Errorf("%T: NULL is %q", null, *got)
		}
	}
	for _, into := range []any{new(pgtype.Numeric), new(pgtype.Date), new(uuid.UUID), new(pgtype.Range[pgtype.Int4])} {
		if err := postgres.ParseText(new("nonsense"), into); !errors.Is(err, postgres.ErrInvalidValue) {
			t.Errorf("%T: %v, want ErrInvalidValue", into, err)
		}
	}
	for text, want := range map[string]time.Time{
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
	} {
		var got time.Time
		if err := postgres.ParseText(&text, &got); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	if err := postgres.ParseText(new("1"), new(struct{})); err == nil {
		t.Error("a text was read into a struct")
	}
}
