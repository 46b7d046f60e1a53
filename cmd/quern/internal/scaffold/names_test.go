package scaffold

import (
	"strings"
	"testing"
)

func TestNoun(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"order":      "order Order Orders order orders orders",
		"category":   "category Category Categories category categories categories",
		"person":     "person Person People person people people",
		"status":     "status Status Statuses status statuses statuses",
		"address":    "address Address Addresses address addresses addresses",
		"cache":      "cache Cache Caches cache caches caches",
		"lens":       "lens Lens Lenses lens lenses lenses",
		"news":       "news News NewsList news newsList news",
		"order_item": "order_item OrderItem OrderItems orderItem orderItems order-items",
		"order-item": "order_item OrderItem OrderItems orderItem orderItems order-items",
		"OrderItem":  "order_item OrderItem OrderItems orderItem orderItems order-items",
		"HTTPRoute":  "http_route HttpRoute HttpRoutes httpRoute httpRoutes http-routes",
		"user_id":    "user_id UserID UserIds userID userIds user-ids",
	} {
		n, err := newNoun(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join([]string{n.file, n.one, n.many, n.lower, n.lowers, n.path}, " "); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for table, want := range map[string]string{
		"comments": "comment", "order_items": "order_item", "OrderItems": "order_item", "categories": "category", "people": "person",
		"statuses": "status", "status": "status", "houses": "house", "databases": "database", "news": "news", "movies": "movie", "aliases": "alias",
	} {
		if got := nounOf(table); got != want {
			t.Errorf("a row of %s is a %s, want %s", table, got, want)
		}
	}
	for _, wrong := range []string{"", "2nd", "a b", "bücher", "-x", "type", "map", "string", "page", "server"} {
		if _, err := newNoun(wrong); err == nil || strings.Count(err.Error(), ": ") < 2 {
			t.Errorf("%q: %v, want an error with a hint", wrong, err)
		}
	}
}
