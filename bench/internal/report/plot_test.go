package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

// TestChartIsWellFormed draws names that need escapes and that would overlap.
func TestChartIsWellFormed(t *testing.T) {
	t.Parallel()
	c := chart{
		title: "a < b & c", xTitle: "callers", xs: []float64{1, 256}, xText: plainNumber, yText: seconds,
		lines: []line{
			{name: "<one>", points: []point{{1, 0.001}, {256, 0.002}}, strong: true},
			{name: "two & three", points: []point{{1, 0.001}, {256, 0.002}}},
		},
	}
	d := xml.NewDecoder(bytes.NewReader(c.svg()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesDoNotOverlap(t *testing.T) {
	t.Parallel()
	labels := apart([]label{{y: 100}, {y: 101}, {y: 99}, {y: plotBottom}, {y: plotBottom}})
	for i := 1; i < len(labels); i++ {
		if labels[i].y-labels[i-1].y < nameHeight || labels[i].y > plotBottom {
			t.Errorf("names at %v and %v", labels[i-1].y, labels[i].y)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ got, want string }{
		{number(1234567), "1,234,567"},
		{number(99.96), "100"},
		{number(12.34), "12.3"},
		{number(1.005), "1.00"},
		{number(-1), unknown},
		{ratio(0.0123), "0.012"},
		{ratio(0), "0.000"},
		{took(1500), "1.50 µs"},
		{took(-1), unknown},
		{size(1536), "1.54 kB"},
		{plainNumber(20_000), "20k"},
		{seconds(0.02), "20ms"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
