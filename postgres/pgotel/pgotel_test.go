package pgotel_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"quern/internal/db"
	"quern/internal/storetest"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgotel"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), Observers: []postgres.Observer{pgotel.New(provider)}})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	u := d.CreateUser(t)
	if _, err := d.Queries.GetUser(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	_, err := d.Queries.CreateUser(ctx, db.CreateUserParams{Username: u.Username, Email: "x", Tags: []string{}})
	if err == nil {
		t.Fatal("a taken username was taken again")
	}
	parent.End()
	var got []string
	for _, s := range spans.Ended() {
		if s.Parent().SpanID() == parent.SpanContext().SpanID() {
			got = append(got, s.Name()+" "+s.Status().Description)
			if s.EndTime().Before(s.StartTime()) || s.SpanKind().String() != "client" {
				t.Errorf("span %+v", s)
			}
			for _, a := range s.Attributes() {
				if strings.Contains(a.Value.String(), u.Username) {
					t.Errorf("the span %s holds an argument: %v", s.Name(), a)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{"GetUser ", "CreateUser unique"}, got); diff != "" {
		t.Errorf("spans below the request (-want +got):\n%s", diff)
	}
}
