//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPatroni runs the server on a cluster managed by Patroni and causes the
// failures that occur in such clusters. The server is not restarted. No
// acknowledged write may be stored twice, and none may be lost if the cluster
// is synchronous.
//
// The short form switches over, and kills an agent and removes the leader's key
// at once. The long form waits until the key expires and has the other
// failures, too.
func TestPatroni(t *testing.T) {
	checkLeaks(t)
	if !long {
		t.Run("Asynchronous", func(t *testing.T) {
			p := newPatroni(t, patroniConfig{})
			p.switchOverUnderWriters(t, false)
			p.waitForStandbys(t, false)
			p.agentDies(t, false)
		})
		return
	}
	for _, mode := range []struct {
		name        string
		synchronous bool
	}{{"Asynchronous", false}, {"Synchronous", true}} {
		t.Run(mode.name, func(t *testing.T) {
			for name, event := range map[string]func(*patroni, *testing.T, bool){
				"Switchover":     (*patroni).switchOverUnderWriters,
				"PostgresKilled": (*patroni).postgresDies,
				"NodeDies":       (*patroni).nodeDies,
				"AgentDies":      (*patroni).agentDies,
			} {
				t.Run(name, func(t *testing.T) {
					event(newPatroni(t, patroniConfig{synchronous: mode.synchronous}), t, mode.synchronous)
				})
			}
		})
	}
	t.Run("OtherHistory", func(t *testing.T) {
		newPatroni(t, patroniConfig{last: "nofailover: true"}).otherHistory(t)
	})
}

// tail is the maximum age of an acknowledged write that asynchronous
// replication may lose with its leader, because the standby had not received
// it.
const tail = 500 * time.Millisecond

// settle waits until writes that were requested after the event are
// acknowledged, stops the writers and compares.
func (p *patroni) settle(t *testing.T, s *serving, synchronous bool, event time.Time) verdict {
	t.Helper()
	eventually(t, 3*startLimit, "writes are acknowledged after the event", func() bool { return s.acknowledged(event) >= 200 })
	s.stop()
	leader := p.leader()
	if leader == nil {
		t.Fatal("the cluster has no leader")
	}
	v := s.verdict(t, leader.node)
	if v.doubled+v.altered > 0 || synchronous && len(v.lost) > 0 {
		t.Errorf("%v", v)
	}
	eventually(t, startLimit, "the server is ready", func() bool { return getStatus(s.base+"/readyz") == http.StatusOK })
	return v
}

func (p *patroni) switchOverUnderWriters(t *testing.T, synchronous bool) {
	var apis []string
	for _, m := range p.members {
		apis = append(apis, fmt.Sprintf("http://%s:%d", m.ip(), m.rest))
	}
	s := p.serve(t, "switchover", "DATABASE_REPLICA_URLS=", "REPLICA_DISCOVERY="+strings.Join(apis, " "))
	s.write(t, 4)
	eventually(t, startLimit, "writes are acknowledged", func() bool { return s.acknowledged(time.Time{}) >= 200 })
	old := p.leader()
	began := time.Now()
	p.switchOver(t)
	eventually(t, startLimit, "another member leads", func() bool { l := p.leader(); return l != nil && l != old })
	v := p.settle(t, s, synchronous, time.Now())
	t.Logf("switchover: %v; it took %v in all", v, time.Since(began).Round(time.Millisecond))
	if len(v.lost) > 0 {
		t.Error("a switchover lost acknowledged writes")
	}
	// All members were discovered, and are used in their new roles.
	eventually(t, startLimit, "the members are used", func() bool { return strings.Count(s.metrics(), "quern_replica_up{") == 3 })
	eventually(t, startLimit, "no member is unused", func() bool { return !regexp.MustCompile(`(?m)^quern_replica_up\{.*\} 0$`).MatchString(s.metrics()) })
	if !long {
		return
	}
	// A member that leaves the cluster is forgotten once its key has expired.
	gone := p.others(p.leader())[0]
	if err := syscall.Kill(gone.agent.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	up := fmt.Sprintf("quern_replica_up{replica=%q}", gone.address())
	eventually(t, 2*startLimit, gone.name+" is forgotten", func() bool {
		text := s.metrics()
		return text != "" && !strings.Contains(text, up)
	})
	<-gone.agent.done
	gone.startAgent(t)
	eventually(t, startLimit, gone.name+" is found again", func() bool {
		return strings.Contains(s.metrics(), up+" 1")
	})
}

// postgresDies kills the leader's postmaster. Its agent restarts it, or a
// standby takes over.
func (p *patroni) postgresDies(t *testing.T, synchronous bool) {
	s := p.serve(t, "postgres")
	s.write(t, 4)
	eventually(t, startLimit, "writes are acknowledged", func() bool { return s.acknowledged(time.Time{}) >= 200 })
	old, killed := p.leader(), time.Now()
	old.killPostgres(t)
	eventually(t, 2*startLimit, "there is a leader again", func() bool {
		l := p.leader()
		return l != nil && s.acknowledged(killed.Add(100*time.Millisecond)) > 0
	})
	v := p.settle(t, s, synchronous, time.Now())
	t.Logf("PostgreSQL of the leader killed: %v; %s leads, and %s did", v, p.leader().name, old.name)
	v.checkTail(t, killed, tail)
}

// nodeDies kills the leader's agent and its PostgreSQL.
func (p *patroni) nodeDies(t *testing.T, synchronous bool) {
	s := p.serve(t, "node")
	s.write(t, 4)
	eventually(t, startLimit, "writes are acknowledged", func() bool { return s.acknowledged(time.Time{}) >= 200 })
	old, killed := p.leader(), time.Now()
	old.killAgent()
	old.killPostgres(t)
	_, promoted := p.promotion(t, p.others(old))
	v := p.settle(t, s, synchronous, promoted)
	t.Logf("node of the leader killed: %v; a standby was promoted after %v", v, promoted.Sub(killed).Round(time.Millisecond))
	v.checkTail(t, killed, tail)
}

// checkTail fails the test if a lost write was acknowledged earlier than the
// replication lag before the event, or after the event.
func (v verdict) checkTail(t *testing.T, event time.Time, lag time.Duration) {
	t.Helper()
	for _, at := range v.lost {
		if at.Before(event.Add(-lag)) || at.After(event.Add(lag)) {
			t.Errorf("a write is lost that was acknowledged %v after the event", at.Sub(event))
		}
	}
}

// agentDies kills only the leader's agent. Nothing stops its PostgreSQL, so it
// remains a primary beside the newly elected one. The control is configured as
// behind a pooler, where the hosts are not watched.
func (p *patroni) agentDies(t *testing.T, synchronous bool) {
	// Without replicas, whose rows would show the higher timeline sooner.
	s, control := p.serve(t, "agent", "DATABASE_REPLICA_URLS="), p.serve(t, "control", "POOLER=transaction", "DATABASE_REPLICA_URLS=")
	s.write(t, 4)
	control.write(t, 2)
	eventually(t, startLimit, "writes are acknowledged", func() bool { return s.acknowledged(time.Time{}) >= 200 })
	old, killed := p.leader(), time.Now()
	old.killAgent()
	if !long {
		p.expire(t)
	}
	promoted, at := p.promotion(t, p.others(old))
	if !synchronous {
		eventually(t, startLimit, "the control writes on", func() bool { return control.acknowledged(at.Add(2*time.Second)) > 0 })
	}
	v := p.settle(t, s, synchronous, at.Add(2*time.Second))
	control.stop()
	// The first of the lost writes were made while the standby was promoted and no
	// longer received WAL.
	var first, risk time.Duration
	if n := len(v.lost); n > 0 {
		first, risk = v.lost[0].Sub(at), v.lost[n-1].Sub(at)
	}
	c := control.verdict(t, promoted.node)
	t.Logf("agent of the leader killed: %v; a standby was promoted after %v; the lost writes were acknowledged from %v to %v after that",
		v, at.Sub(killed).Round(time.Millisecond), first.Round(time.Millisecond), risk.Round(time.Millisecond))
	t.Logf("without the look at the hosts: %v", c)
	if risk > 1500*time.Millisecond {
		t.Errorf("writes were at risk for %v after the promotion", risk)
	}
	if !synchronous && (len(c.lost) == 0 || c.lost[len(c.lost)-1].Sub(at) < 2*time.Second) {
		t.Error("the control left no writes on the old primary: the test shows nothing")
	}

	// The old primary still accepts writes, and doctor must report it.
	out, err := s.doctor()
	if err == nil || !regexp.MustCompile(`(?m)^  wrong +host .*accepts writes on timeline \d+ although`).MatchString(out) {
		t.Errorf("doctor: %v:\n%s", err, out)
	}
}

// doctor runs the doctor with the server's settings.
func (s *serving) doctor() (string, error) {
	binary, err := buildServer()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(binary, "doctor")
	cmd.Env, cmd.Dir = s.env, s.home
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// otherHistory promotes a standby that lacks writes which the third member has.
// The third member cannot be promoted and remains on the old timeline, with a
// higher position than the new primary. It must answer no read of an own write,
// neither with a row of the lost history nor with not found.
func (p *patroni) otherHistory(t *testing.T) {
	behind, ahead := p.members[1], p.members[2]
	s := p.serve(t, "history")
	s.readOwnWrites(t, 50)
	behind.stopReceiving(t, p.leader())
	for range 200 {
		s.createUser(t)
	}
	if b, a := p.ask(behind, "SELECT count(*) FROM users"), p.ask(ahead, "SELECT count(*) FROM users"); b >= a {
		t.Fatalf("the standby that is to be promoted has %d users and the other one %d: the test shows nothing", b, a)
	}
	old := p.leader()
	old.killAgent()
	old.killPostgres(t)
	p.expire(t)
	promoted, _ := p.promotion(t, []*member{behind})
	eventually(t, startLimit, "the server is ready", func() bool { return getStatus(s.base+"/readyz") == http.StatusOK })
	wrong := s.readOwnWrites(t, 500)
	t.Logf("%s leads, although %s was ahead of it: %d of 500 reads of own writes were wrong", promoted.name, ahead.name, wrong)
}
