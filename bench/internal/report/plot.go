package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
)

// chart is a plot of lines with logarithmic axes.
type chart struct {
	title, xTitle string
	xs            []float64            // the marks of the x axis
	xText, yText  func(float64) string // format of the marks
	lines         []line
}

// line is one of a chart's lines.
type line struct {
	name   string
	points []point
	strong bool
	dashed bool
}

type point struct{ x, y float64 }

// The picture in pixels. The names of the lines are at their right ends.
const (
	chartWidth, chartHeight    = 860, 480
	left, right, top, bottom   = 74, 190, 48, 52
	plotRight, plotBottom      = chartWidth - right, chartHeight - bottom
	nameHeight                 = 15 // minimum distance of names
	fontStack                  = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
	ink, inkSoft, gridColor    = "#1f2933", "#5b6770", "#e4e7eb"
	strongWidth, ordinaryWidth = 3.5, 1.8
)

// colors of the lines in turn. The project has the first.
var colors = []string{
	"#d1242f", "#1f2933", "#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#0f7b8a", "#b35900", "#57606a", "#4d8f00", "#6e7bd9",
}

// scale maps a value to a pixel.
type scale struct{ low, high, from, to float64 }

func (s scale) at(v float64) float64 {
	return s.from + (math.Log(v)-math.Log(s.low))/(math.Log(s.high)-math.Log(s.low))*(s.to-s.from)
}

// svg draws the chart.
func (c chart) svg() []byte {
	b := &bytes.Buffer{}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="%s" font-size="12">`+"\n",
		chartWidth, chartHeight, chartWidth, chartHeight, fontStack)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", chartWidth, chartHeight)
	text(b, left, 26, "start", ink, `font-size="16" font-weight="600"`, c.title)
	text(b, (left+plotRight)/2, chartHeight-12, "middle", inkSoft, "", c.xTitle)
	x := scale{c.xs[0], c.xs[len(c.xs)-1], left + 12, plotRight - 12}
	y := c.yScale()
	c.axes(b, x, y)
	c.draw(b, x, y)
	fmt.Fprintln(b, "</svg>")
	return b.Bytes()
}

// yScale covers the range from the least to the greatest value, with a margin.
func (c chart) yScale() scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for _, p := range l.points {
			low, high = min(low, p.y), max(high, p.y)
		}
	}
	return scale{low / 1.25, high * 1.25, plotBottom, top}
}

func (c chart) axes(b *bytes.Buffer, x, y scale) {
	for _, v := range c.xs {
		fmt.Fprintf(b, `<path d="M%.1f %dV%d" stroke="%s"/>`+"\n", x.at(v), top, plotBottom, gridColor)
		text(b, x.at(v), plotBottom+18, "middle", inkSoft, "", c.xText(v))
	}
	for power := math.Floor(math.Log10(y.low)); power <= math.Log10(y.high); power++ {
		for _, digit := range []float64{1, 2, 5} {
			v := digit * math.Pow(10, power)
			if v < y.low || v > y.high {
				continue
			}
			fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="%s"/>`+"\n", left, y.at(v), plotRight, gridColor)
			text(b, left-8, y.at(v)+4, "end", inkSoft, "", c.yText(v))
		}
	}
}

// label is the name of a line at its end.
type label struct {
	name, color, weight string
	y                   float64
}

func (c chart) draw(b *bytes.Buffer, x, y scale) {
	var labels []label
	// The project's line is drawn last, so that it is on top.
	for i := len(c.lines) - 1; i >= 0; i-- {
		l := c.lines[i]
		if len(l.points) == 0 {
			continue
		}
		color, width, dash := colors[i%len(colors)], ordinaryWidth, ""
		if l.strong {
			width = strongWidth
		}
		if l.dashed {
			dash = ` stroke-dasharray="5 4"`
		}
		fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="%.1f" stroke-linejoin="round"%s d="`, color, width, dash)
		for j, p := range l.points {
			fmt.Fprintf(b, "%c%.1f %.1f", "ML"[min(j, 1)], x.at(p.x), y.at(p.y))
		}
		fmt.Fprintln(b, `"/>`)
		for _, p := range l.points {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`+"\n", x.at(p.x), y.at(p.y), width*0.9+1, color)
		}
		last := label{name: l.name, color: color, weight: "400", y: y.at(l.points[len(l.points)-1].y)}
		if l.strong {
			last.weight = "700"
		}
		labels = append(labels, last)
	}
	for _, l := range apart(labels) {
		text(b, plotRight+8, l.y+4, "start", l.color, `font-weight="`+l.weight+`"`, l.name)
	}
}

// apart moves the names apart by the smallest distance that keeps them
// readable.
func apart(labels []label) []label {
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = max(labels[i].y, labels[i-1].y+nameHeight)
	}
	lowest := float64(plotBottom)
	for i := len(labels) - 1; i >= 0; i-- {
		labels[i].y = min(labels[i].y, lowest)
		lowest = labels[i].y - nameHeight
	}
	return labels
}

func text(b *bytes.Buffer, x, y float64, anchor, color, more, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" %s>`, x, y, anchor, color, more)
	_ = xml.EscapeText(b, []byte(s)) // a buffer never fails
	fmt.Fprintln(b, "</text>")
}
