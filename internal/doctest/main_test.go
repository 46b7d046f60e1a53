package doctest

import (
	"testing"

	"quern/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
