package console

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets of a histogram, as of HdrHistogram: each power of two of microseconds is
// divided into 8 buckets of equal width, so a value is known to within 1/8, and its middle to
// within 1/16. They end at 2^26 µs, which is 67 s. No statement of a service takes longer.
const (
	subBits    = 3
	subBuckets = 1 << subBits
	octaves    = 26
	numBuckets = (octaves - subBits + 1) * subBuckets
)

// histogram counts durations. It is safe for concurrent use.
type histogram [numBuckets]atomic.Uint64

func (h *histogram) add(d time.Duration) { h[bucketOf(d)].Add(1) }

// counts are the counts of a histogram at one moment, or their differences.
type counts [numBuckets]uint64

func (h *histogram) addTo(c *counts) {
	for i := range h {
		c[i] += h[i].Load()
	}
}

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < subBuckets {
		return int(us)
	}
	octave := bits.Len64(us) - 1 // at least subBits
	i := (octave-subBits+1)*subBuckets + int(us>>(octave-subBits)) - subBuckets
	return min(i, numBuckets-1)
}

// lowest returns the lowest duration of a bucket.
func lowest(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket) * time.Microsecond
	}
	octave := bucket/subBuckets - 1
	return time.Duration((subBuckets+bucket%subBuckets)<<octave) * time.Microsecond
}

// total returns the number of durations.
func (c *counts) total() (n uint64) {
	for _, x := range c {
		n += x
	}
	return n
}

// quantile returns the duration that the share q of all durations do not exceed, in
// milliseconds. It is nil if there are none.
func (c *counts) quantile(q float64) *float64 {
	total := c.total()
	if total == 0 {
		return nil
	}
	rank := max(1, uint64(q*float64(total)+0.5))
	var seen uint64
	for i, n := range c {
		if seen += n; seen >= rank {
			return new(milliseconds((lowest(i) + lowest(i+1)) / 2))
		}
	}
	return nil
}

// Quantiles are in milliseconds; null without a call.
type Quantiles struct {
	P50 *float64 `json:"p50_ms"`
	P95 *float64 `json:"p95_ms"`
	P99 *float64 `json:"p99_ms"`
}

func (c *counts) quantiles() Quantiles {
	return Quantiles{c.quantile(0.50), c.quantile(0.95), c.quantile(0.99)}
}

// Bucket is one bar of a histogram.
type Bucket struct {
	From  float64 `json:"from_ms"`
	To    float64 `json:"to_ms"`
	Calls uint64  `json:"calls"`
}

// bars returns two buckets for each power of two, from the first to the last one with a
// count.
func (c *counts) bars() []Bucket {
	list := []Bucket{}
	const step = subBuckets / 2
	for i := 0; i < numBuckets; i += step {
		var n uint64
		for j := range step {
			n += c[i+j]
		}
		if n > 0 || len(list) > 0 {
			list = append(list, Bucket{milliseconds(lowest(i)), milliseconds(lowest(i + step)), n})
		}
	}
	for len(list) > 0 && list[len(list)-1].Calls == 0 {
		list = list[:len(list)-1]
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
