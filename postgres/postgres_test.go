package postgres_test

import (
	"testing"

	"quern/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
