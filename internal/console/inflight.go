package console

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Running is a connection of this process that is in use.
type Running struct {
	ID          uint64  `json:"id"`
	Statement   string  `json:"statement"` // that runs, or ran last in a transaction
	Server      string  `json:"server"`
	PID         uint32  `json:"pid"`
	Class       string  `json:"class"`
	Seconds     float64 `json:"seconds"`           // since the caller began to wait for the connection
	Since       float64 `json:"statement_seconds"` // since the statement began
	Transaction bool    `json:"transaction"`
	Idle        bool    `json:"idle"`   // the code between the statements of a transaction runs
	Caller      string  `json:"caller"` // the line that began the transaction
	RequestID   string  `json:"request_id"`
	Route       string  `json:"route"`      // of the request, such as GET /v1/users
	Wait        string  `json:"wait"`       // what the server waits for
	BlockedBy   []int32 `json:"blocked_by"` // backends that hold the lock it waits for
}

// Session is a session of the database that belongs to another process.
type Session struct {
	PID                int32    `json:"pid"`
	Application        string   `json:"application"`
	Role               string   `json:"role"`
	State              string   `json:"state"`
	Statement          string   `json:"statement"` // its name, or its first word
	TransactionSeconds *float64 `json:"transaction_seconds"`
	StateSeconds       *float64 `json:"state_seconds"`
	Wait               string   `json:"wait"`
	BlockedBy          []int32  `json:"blocked_by"`
}

// InFlight is everything that runs.
type InFlight struct {
	Running  []Running `json:"running"`
	Sessions []Session `json:"sessions"`
	Problem  *Problem  `json:"sessions_problem"` // why the server's sessions are unknown; null if they are known
}

type sessionRow struct {
	PID                int32
	ApplicationName    *string
	Role               *string
	State              *string
	Statement          *string
	TransactionSeconds *float64
	StateSeconds       *float64
	Wait               *string
	BlockedBy          []int32
}

func (c *Console) getInFlight(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	v := InFlight{Running: c.running(router), Sessions: []Session{}}
	var rows []sessionRow
	err := c.catalogs(r.Context(), router, func(tx pgx.Tx) error {
		found, err := tx.Query(r.Context(), sessions)
		if err == nil {
			rows, err = pgx.CollectRows(found, pgx.RowToStructByName[sessionRow])
		}
		return err
	})
	if err != nil {
		v.Problem = problemOf(err)
	}
	for _, s := range rows {
		own := slices.IndexFunc(v.Running, func(x Running) bool { return x.Server == "primary" && x.PID == uint32(s.PID) })
		if own >= 0 {
			v.Running[own].Wait, v.Running[own].BlockedBy = waitOf(s), orEmpty(s.BlockedBy)
			continue
		}
		v.Sessions = append(v.Sessions, Session{
			PID: s.PID, Application: text(s.ApplicationName), Role: text(s.Role), State: text(s.State), Statement: text(s.Statement),
			TransactionSeconds: s.TransactionSeconds, StateSeconds: s.StateSeconds, Wait: waitOf(s), BlockedBy: orEmpty(s.BlockedBy),
		})
	}
	writeJSON(w, v)
}

// running returns the connections of this process, without a query.
func (c *Console) running(router *postgres.Router) []Running {
	list, now := []Running{}, time.Now()
	for _, x := range router.InFlight() {
		v := Running{
			ID: x.ID, Statement: x.Statement, Server: x.Server, PID: x.PID, Class: x.Class,
			Seconds: now.Sub(x.Start).Seconds(), Since: now.Sub(x.Sent).Seconds(),
			Transaction: x.Transaction, Idle: x.Idle, Caller: x.Caller, BlockedBy: []int32{},
		}
		v.RequestID, v.Route = c.Request(x.Context)
		list = append(list, v)
	}
	return list
}

// waitOf omits the wait for the client, which every idle session has.
func waitOf(s sessionRow) string {
	if w := text(s.Wait); w != "Client: ClientRead" {
		return w
	}
	return ""
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// cancel cancels a statement. It is an act of an operator, so it is logged.
func (c *Console) cancel(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		(&Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "The id is not a number."}).write(w)
		return
	}
	statement := ""
	for _, x := range router.InFlight() {
		if x.ID == id {
			statement = x.Statement
		}
	}
	if !router.Cancel(id) {
		(&Problem{
			Title: "Conflict", Status: http.StatusConflict,
			Detail: "Nothing was cancelled: the statement has ended, or it is a COMMIT, or a transaction that runs no statement now.",
		}).write(w)
		return
	}
	own, _ := c.Request(r.Context())
	c.Logger.WarnContext(r.Context(), "an operator cancelled a statement", "query", statement, "id", id, "request_id", own)
	writeJSON(w, struct {
		Cancelled string `json:"cancelled"`
	}{statement})
}
