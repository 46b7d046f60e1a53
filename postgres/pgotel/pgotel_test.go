package pgotel_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgotel"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Observers: []postgres.Observer{pgotel.New(provider)}})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	u := d.CreateAccount(t)
	if _, err := d.Queries.GetAccount(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	_, err := d.Queries.CreateAccount(ctx, db.CreateAccountParams{Username: u.Username, Email: "x", Tags: []string{}})
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
	if diff := cmp.Diff([]string{"GetAccount ", "CreateAccount unique"}, got); diff != "" {
		t.Errorf("spans below the request (-want +got):\n%s", diff)
	}
}
