package measure

import (
	"math/rand/v2"
	"strconv"
)

// NewUser is a user to be inserted.
type NewUser struct {
	Username, Email string
	Age             int32
	Tags            []string
}

// Input is what one caller works on. Two with the same Load give the same.
type Input struct {
	// Skewed makes ID return few ids often (Zipf's law).
	Skewed bool

	// Duplicates is how many of a hundred new users have a username that exists.
	Duplicates int

	lo, hi   int64
	existing string
	rand     *rand.Rand
	zipf     *rand.Zipf
	prefix   string
	number   int
	fixed    []int64
	inserted int64
}

// skew and bend shape Zipf's law: a hundredth of the ids are asked for in three
// of four calls.
const (
	skew = 1.1
	bend = 10
)

func newInput(worker int, l Load) *Input {
	r := rand.New(rand.NewPCG(l.Seed, uint64(worker)))
	return &Input{
		lo: l.Lo, hi: l.Hi, existing: l.Existing, rand: r, zipf: rand.NewZipf(r, skew, bend, uint64(l.Hi-l.Lo)),
		prefix: l.Prefix + strconv.Itoa(worker) + "-",
	}
}

// Fixed is an Input that gives out these ids, one after the other.
func Fixed(ids []int64, l Load) *Input {
	in := newInput(0, l)
	in.fixed = ids
	return in
}

// ID is the id of a user that exists.
func (in *Input) ID() int64 {
	switch {
	case len(in.fixed) > 0:
		id := in.fixed[0]
		in.fixed = in.fixed[1:]
		return id
	case in.Skewed:
		return in.lo + int64(in.zipf.Uint64())
	default:
		return in.lo + in.rand.Int64N(in.hi-in.lo+1)
	}
}

// After is an id behind which there are n more users.
func (in *Input) After(n int) int64 {
	if len(in.fixed) > 0 {
		return in.ID()
	}
	return in.lo - 1 + in.rand.Int64N(in.hi-in.lo-int64(n)+2)
}

// Deep is an id nine tenths down the table.
func (in *Input) Deep() int64 { return in.lo - 1 + (in.hi-in.lo+1)/10*9 }

// User is a user that does not exist yet, or with Duplicates perhaps does.
func (in *Input) User() NewUser {
	in.number++
	u := NewUser{
		Username: in.prefix + strconv.Itoa(in.number),
		Age:      18 + int32(in.number%60),
		Tags:     []string{"bench", "insert"},
	}
	u.Email = u.Username + "@example.com"
	if in.Chance(in.Duplicates) {
		u.Username = in.existing
	}
	return u
}

// Chance is true in so many of a hundred cases.
func (in *Input) Chance(percent int) bool { return percent > 0 && in.rand.IntN(100) < percent }

// Random is a random number below n.
func (in *Input) Random(n int64) int64 { return in.rand.Int64N(n) }

// Inserted counts an insertion that took place.
func (in *Input) Inserted() { in.inserted++ }
