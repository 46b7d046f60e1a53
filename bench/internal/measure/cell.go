package measure

import (
	"cmp"
	"slices"
	"time"
)

// Cell has the samples of all contenders of a workload with one number of
// callers, by round.
type Cell struct {
	Workload string
	Callers  int
	Order    []string // the contenders in display order
	Samples  map[string][]Sample
}

// NewCell returns an empty Cell.
func NewCell(workload string, callers int) *Cell {
	return &Cell{Workload: workload, Callers: callers, Samples: map[string][]Sample{}}
}

// Add adds a contender's sample of the next round.
func (c *Cell) Add(name string, s Sample) {
	if len(c.Samples[name]) == 0 {
		c.Order = append(c.Order, name)
	}
	c.Samples[name] = append(c.Samples[name], s)
}

// Summary is the result of a contender. Unknown values are negative.
type Summary struct {
	Throughput  float64 // operations per second, the median of the rounds
	Ratio       float64 // of the throughput to that of the reference in the same round, the median
	RatioCPU    float64 // of the processor time of client and server per operation to that of the reference
	RatioP99    float64
	P50, P99    time.Duration
	ClientCPU   time.Duration // per operation
	ServerCPU   time.Duration
	Elapsed     time.Duration
	Kernel      [2]time.Duration // of ClientCPU and ServerCPU
	Mallocs     float64          // per operation
	Bytes       float64
	Connections float64 // opened per thousand operations
	Refused     int64   // in all rounds
}

// Summarize compares a contender with a reference of the same cell.
func (c *Cell) Summarize(name, reference string) Summary {
	mine, theirs := c.Samples[name], c.Samples[reference]
	sum := Summary{
		Throughput: median(mine, Sample.Throughput),
		P50:        median(mine, func(s Sample) time.Duration { return s.P50 }),
		P99:        median(mine, func(s Sample) time.Duration { return s.P99 }),
		ClientCPU:  time.Duration(perOp(mine, func(s Sample) int64 { return int64(s.ClientCPU) })),
		ServerCPU:  time.Duration(perOp(mine, func(s Sample) int64 { return int64(s.ServerCPU) })),
		Elapsed:    time.Duration(perOp(mine, func(s Sample) int64 { return int64(s.Elapsed) })),
		Kernel: [2]time.Duration{
			time.Duration(perOp(mine, func(s Sample) int64 { return int64(s.ClientKernel) })),
			time.Duration(perOp(mine, func(s Sample) int64 { return int64(s.ServerKernel) })),
		},
		Mallocs:     perOp(mine, func(s Sample) int64 { return s.Mallocs }),
		Bytes:       perOp(mine, func(s Sample) int64 { return s.Bytes }),
		Connections: 1000 * perOp(mine, func(s Sample) int64 { return s.Connections }),
		Ratio:       ratio(mine, theirs, Sample.Throughput),
		RatioP99:    ratio(mine, theirs, func(s Sample) float64 { return s.P99.Seconds() }),
		RatioCPU:    ratio(mine, theirs, cpu),
	}
	for _, s := range mine {
		sum.Refused += s.Refused
	}
	return sum
}

// cpu returns the processor time of an operation in seconds, or a negative
// value if it is unknown.
func cpu(s Sample) float64 {
	if s.ServerCPU < 0 || s.ClientCPU < 0 {
		return -1
	}
	return (s.ClientCPU + s.ServerCPU).Seconds() / float64(s.Ops)
}

// ratio returns the median of the ratios of value in each round.
func ratio(mine, theirs []Sample, value func(Sample) float64) float64 {
	var ratios []float64
	for i := range min(len(mine), len(theirs)) {
		a, b := value(mine[i]), value(theirs[i])
		if a >= 0 && b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	if len(ratios) == 0 {
		return -1
	}
	return middle(ratios)
}

func median[T cmp.Ordered](samples []Sample, value func(Sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return middle(values)
}

func middle[T cmp.Ordered](values []T) (none T) {
	if len(values) == 0 {
		return none
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// perOp returns the mean over all rounds, because the processor time of a
// single round is short compared with the resolution of its clock.
func perOp(samples []Sample, value func(Sample) int64) float64 {
	var total, ops int64
	for _, s := range samples {
		if value(s) < 0 {
			return -1
		}
		total += value(s)
		ops += s.Ops
	}
	return float64(total) / float64(max(1, ops))
}
