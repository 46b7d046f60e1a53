package localpg_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"quern/localpg"
)

func ExampleStart() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "shop-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	server, err := localpg.Start(ctx, localpg.Config{Dir: filepath.Join(dir, "postgres"), Database: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)

	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	var database string
	if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		log.Fatal(err)
	}
	fmt.Println(database)
	// Output: shop
}
