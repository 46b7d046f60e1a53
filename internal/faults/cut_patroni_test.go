//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// requestBudget is the server's REQUEST_TIMEOUT during the cuts.
const requestBudget = 2 * time.Second

// TestCuts_Patroni cuts the network of a synchronous cluster that Patroni and
// etcd manage, with the server's binary on a separate host. No acknowledged
// write may be lost or doubled, no read with a token may be stale or return
// another row, and every request must be answered within the server's budget.
// There is only a long form, because the leader's key must expire.
func TestCuts_Patroni(t *testing.T) {
	if !long {
		t.Skip("minutes of a cluster: make faults")
	}
	checkLeaks(t)
	n := newNetwork(t, "etcd", "ada", "ben", "cyd", "server")
	p := newPatroni(t, patroniConfig{network: n, synchronous: true})
	server, etcd := n.named("server"), n.named("etcd")
	for _, cut := range []struct {
		name     string
		begin    func(leader *member)
		promotes bool
	}{
		{"LeaderFromOthers", func(leader *member) {
			n.cut(t, leader.host, etcd)
			for _, m := range p.others(leader) {
				n.cut(t, leader.host, m.host)
			}
		}, true},
		{"LeaderIsolated", func(leader *member) {
			for _, h := range n.hosts {
				if h != leader.host && h != n.here { // the test itself observes it
					n.cut(t, leader.host, h)
				}
			}
		}, true},
		{"ServerFromLeader", func(leader *member) { n.cut(t, leader.host, server) }, false},
		{"ServerAnswersLost", func(leader *member) { n.lose(t, leader.host, server) }, false},
	} {
		t.Run(cut.name, func(t *testing.T) {
			s := p.serve(t, cut.name, "REQUEST_TIMEOUT="+requestBudget.String())
			s.write(t, 4)
			stopReads, reads := s.readThrough(t)
			eventually(t, startLimit, "writes are acknowledged", func() bool { return s.acknowledged(time.Time{}) >= 100 && reads.answered.Load() > 20 })
			leader, began := p.leader(), time.Now()
			cut.begin(leader)
			at := time.Now()
			if cut.promotes {
				_, at = p.promotion(t, p.others(leader))
				eventually(t, startLimit, "writes are acknowledged during the cut", func() bool { return s.acknowledged(at) >= 50 })
			} else {
				ended := reads.ended.Load()
				eventually(t, startLimit, "requests end during the cut", func() bool { return reads.ended.Load() > ended+6 && time.Since(at) > 3*requestBudget })
			}
			n.heal(t)
			healed := time.Now()
			eventually(t, 3*startLimit, "writes are acknowledged after the cut", func() bool { return s.acknowledged(healed) >= 200 })
			s.stop()
			stopReads()
			// The old leader may hold itself for the leader until its agent has looked.
			p.waitForStandbys(t, true)
			v := s.verdict(t, p.leader().node)
			if len(v.lost)+v.doubled+v.altered > 0 {
				t.Errorf("%v", v)
			}
			t.Logf("%s: %v; the cut had its effect after %v; the slowest request took %v; reads with tokens: %v", cut.name, v,
				at.Sub(began).Round(time.Millisecond), s.slowest.Round(time.Millisecond), reads)
			if limit := requestBudget + time.Second; s.slowest > limit || time.Duration(reads.slowest.Load()) > limit {
				t.Errorf("a request was answered after more than %v", limit)
			}
			if reads.stale.Load()+reads.foreign.Load() > 0 {
				t.Errorf("reads with tokens: %v", reads)
			}
		})
	}
}

// readThrough starts clients that create users, and read each with the token of
// its response, whatever fails.
func (s *serving) readThrough(t testing.TB) (stop func(), c *calls) {
	c = &calls{}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var all sync.WaitGroup
	one := func(method, path, body, token string) (status int, got struct {
		ID       int64
		Username string
	}, next string,
	) {
		request, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Consistency-Token", token)
		began := time.Now()
		response, err := client.Do(request)
		if err == nil {
			status, next = response.StatusCode, response.Header.Get("Consistency-Token")
			_ = json.NewDecoder(response.Body).Decode(&got) // a problem has neither
			response.Body.Close()
		}
		raise64(&c.slowest, int64(time.Since(began)))
		c.ended.Add(1)
		if status/100 == 2 {
			c.answered.Add(1)
		}
		return status, got, next
	}
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				name := newUser().Username
				status, made, token := one(http.MethodPost, "/v1/users", fmt.Sprintf(`{"username":%q,"email":"x"}`, name), "")
				if status != http.StatusCreated {
					continue
				}
				switch status, got, _ := one(http.MethodGet, fmt.Sprintf("/v1/users/%d", made.ID), "", token); {
				case status == http.StatusNotFound:
					c.stale.Add(1)
				case status == http.StatusOK && got.Username != name:
					c.foreign.Add(1)
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait(); client.CloseIdleConnections() })
	t.Cleanup(stop)
	return stop, c
}
