package postgres_test

import (
	"testing"

	"quern/internal/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
