package postgres

import "fmt"

// hostProblem is the reason why a host must not be written to.
type hostProblem string

const (
	noProblem     hostProblem = ""
	olderTimeline hostProblem = "older_timeline"  // it accepts writes below the floor
	equalTimeline hostProblem = "equal_timelines" // it and the primary accept writes on the same timeline
	otherCluster  hostProblem = "other_cluster"   // its system identifier differs
)

// describe returns the problem of a server with the given state, in a cluster with the
// given highest timeline, and how to fix it.
func (p hostProblem) describe(s serverState, system, timeline int64) string {
	switch p {
	case olderTimeline:
		return fmt.Sprintf("it accepts writes on timeline %d although another host is the primary of timeline %d: "+
			"writes to it will be lost: stop it, then rejoin it as a standby (pg_rewind)", s.timeline, timeline)
	case equalTimeline:
		return fmt.Sprintf("it and another host both accept writes on timeline %d: two standbys were promoted, or a copy was started: "+
			"stop the wrong one and rebuild it as a standby", s.timeline)
	case otherCluster:
		return fmt.Sprintf("it belongs to another cluster (system identifier %d instead of %d): remove it from DATABASE_URL", s.system, system)
	}
	return ""
}

// fencedError rejects a connection to a server that must not be written to.
type fencedError struct {
	problem hostProblem
	text    string
}

func (e *fencedError) Error() string { return "the server must not be written to: " + e.text }

func (e *fencedError) diagnosis() Diagnosis {
	switch e.problem {
	case otherCluster:
		return Diagnosis{What: "the server belongs to another cluster than the first server", Hint: "remove that host from DATABASE_URL"}
	case equalTimeline:
		return Diagnosis{What: "two servers are primaries of the same timeline", Hint: "stop the wrong one and rebuild it as a standby", Transient: true}
	}
	return Diagnosis{
		What:      "the server has been replaced by one on a higher timeline",
		Hint:      "start the primary of that timeline; if it is lost, restart this process",
		Transient: true,
	}
}
