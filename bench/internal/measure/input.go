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

// Input generates the input of one caller. It is the same for the same Load.
type Input struct {
	// Skewed makes ID return a few ids often (Zipf's law).
	Skewed bool

	// Duplicates is the percentage of new users with an existing username.
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

// skew and bend shape Zipf's law so that three of four calls request the same hundredth of the
// ids.
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

// Fixed returns an Input that returns the given ids in turn.
func Fixed(ids []int64, l Load) *Input {
	in := newInput(0, l)
	in.fixed = ids
	return in
}

// ID returns the id of an existing user.
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

// After returns an id after which there are n more users.
func (in *Input) After(n int) int64 {
	if len(in.fixed) > 0 {
		return in.ID()
	}
	return in.lo - 1 + in.rand.Int64N(in.hi-in.lo-int64(n)+2)
}

// Deep returns an id at nine tenths of the table.
func (in *Input) Deep() int64 { return in.lo - 1 + (in.hi-in.lo+1)/10*9 }

// User returns a user that does not exist yet, except for Duplicates.
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

// Chance returns true with the given percentage.
func (in *Input) Chance(percent int) bool { return percent > 0 && in.rand.IntN(100) < percent }

// Random returns a random number below n.
func (in *Input) Random(n int64) int64 { return in.rand.Int64N(n) }

// Inserted counts a successful insertion.
func (in *Input) Inserted() { in.inserted++ }
