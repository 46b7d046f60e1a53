//go:build linux

package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// fault is what happens to a statement on its way, such as a COMMIT.
type fault string

const (
	passOn        fault = ""
	cutBefore     fault = "cut before it is sent"
	dropAnswer    fault = "answer dropped, FIN"
	reset         fault = "sent, RST at once"
	halfAnswer    fault = "half of the answer, FIN"
	adminShutdown fault = "answered by 57P01, FIN"
	hang          fault = "never answered"
	late          fault = "FIN at once, sent much later" // when release is closed
)

var allFaults = []fault{cutBefore, dropAnswer, reset, halfAnswer, adminShutdown, hang}

// proxy is between clients and a server. It reads the messages of the protocol
// (PostgreSQL manual, 55.7), so that it can recognize a COMMIT in the simple
// and in the extended protocol. It does not support TLS.
type proxy struct {
	target   string
	listener net.Listener

	mu        sync.Mutex
	conns     map[*proxyConn]bool
	decide    func(n int) fault // the fate of the nth statement that hit picks, counted from 1
	hit       func(sql string) bool
	picked    int
	lost      int
	release   chan struct{}  // closed by the test to send the delayed statement
	arrived   chan struct{}  // closed when that statement was answered
	afterLoss func()         // runs before the client notices the loss; may be nil
	statement map[string]int // number of statements that passed, by sqlc's name
	hole      chan struct{}  // if not nil, a black hole until it is closed
	closed    bool
	done      sync.WaitGroup
}

// proxyTo listens in front of the server at target. It is closed at the end of
// the test, which fails if a client is still connected then.
func proxyTo(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, listener: l, conns: map[*proxyConn]bool{}, statement: map[string]int{}}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		p.resume()
		if !poll(20*time.Second, func() bool { return p.open() == 0 }) && !t.Failed() {
			t.Errorf("%d clients are still connected to the proxy", p.open())
		}
		p.close()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

func (p *proxy) serve(client *net.TCPConn) {
	c := &proxyConn{proxy: p, client: client, closed: make(chan struct{})}
	p.mu.Lock()
	p.conns[c] = true
	closed := p.closed
	p.mu.Unlock()
	defer func() {
		c.close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	if closed || !c.wait() {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		// The closest that a proxy gets to a refused connection.
		_ = client.SetLinger(0)
		return
	}
	c.server = server.(*net.TCPConn)
	go func() {
		// The connection may be closed while it waits in a black hole.
		<-c.closed
		c.server.Close()
	}()
	var both sync.WaitGroup
	both.Go(c.fromServer)
	both.Go(c.fromClient)
	both.Wait()
}

// open returns the number of connected clients.
func (p *proxy) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// count returns how many statements with one of the names passed.
func (p *proxy) count(names ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		n += p.statement[name]
	}
	return n
}

// lose makes decide choose the fault of the nth statement, from now on, that
// hit picks.
func (p *proxy) lose(hit func(sql string) bool, decide func(n int) fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hit, p.decide, p.picked, p.lost = hit, decide, 0, 0
}

// next chooses the fault of a statement that was picked.
func (p *proxy) next() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.picked++
	how := p.decide(p.picked)
	if how != passOn {
		p.lost++
	}
	return how
}

// losses returns the number of statements that had a fault.
func (p *proxy) losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// blackHole stops all traffic in both directions. Connections are still
// accepted and stay open, as in a network that drops every packet.
func (p *proxy) blackHole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = make(chan struct{})
}

// resume ends a black hole. Data received in the meantime is forwarded.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole != nil {
		close(p.hole)
		p.hole = nil
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// proxyConn is one client's connection.
type proxyConn struct {
	proxy          *proxy
	client, server *net.TCPConn
	closing        sync.Once
	closed         chan struct{}

	mu      sync.Mutex
	capture bool          // withhold the server's answers
	answer  bytes.Buffer  // the withheld answer
	whole   chan struct{} // closed when the answer is complete
}

// close closes the connection on both sides with FIN.
func (c *proxyConn) close() {
	c.closing.Do(func() {
		close(c.closed)
		c.client.Close()
	})
}

// wait returns true at once or at the end of a black hole, or false at the end
// of the connection.
func (c *proxyConn) wait() bool {
	c.proxy.mu.Lock()
	hole := c.proxy.hole
	c.proxy.mu.Unlock()
	if hole == nil {
		return true
	}
	select {
	case <-hole:
		return true
	case <-c.closed:
		return false
	}
}

// frame reads one message. It has a type byte, which a start-up message lacks,
// a length that includes itself, and a body.
func frame(r *bufio.Reader, startup bool) ([]byte, error) {
	head := 5
	if startup {
		head = 4
	}
	message := make([]byte, head, 512)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(message[head-4:])) - 4
	if size < 0 || size > 1<<30 {
		return nil, errors.New("not a message")
	}
	message = append(message, make([]byte, size)...)
	_, err := io.ReadFull(r, message[head:])
	return message, err
}

// cancelRequest is the number in a start-up message that makes it a cancel
// request. It is in the place of the version.
const cancelRequest = 80877102

// fromClient forwards the client's messages one round trip at a time, up to the
// message that makes the server answer.
func (c *proxyConn) fromClient() {
	defer c.close()
	r := bufio.NewReader(c.client)
	group, err := frame(r, true)
	if err != nil || !c.send(group) {
		return
	}
	if len(group) >= 8 && binary.BigEndian.Uint32(group[4:]) == cancelRequest {
		<-c.closed // the server closes it after the cancellation
		return
	}
	group = nil
	prepared := map[string]string{} // statements by name
	portals := map[string]string{}  // and by portal
	picked := false
	for {
		message, err := frame(r, false)
		if err != nil {
			return
		}
		group = append(group, message...)
		switch body := message[5:]; message[0] {
		case 'P': // Parse
			name, rest := cString(body)
			prepared[name], _ = cString(rest)
		case 'B': // Bind
			portal, rest := cString(body)
			name, _ := cString(rest)
			portals[portal] = prepared[name]
		case 'E': // Execute
			portal, _ := cString(body)
			picked = c.observe(portals[portal]) || picked
		case 'Q': // Query
			sql, _ := cString(body)
			picked = c.observe(sql) || picked
		}
		if strings.IndexByte("PBECD", message[0]) >= 0 {
			continue // the server does not answer yet
		}
		how := passOn
		if picked {
			how = c.proxy.next()
		}
		if !c.deliver(group, how) {
			return
		}
		group, picked = nil, false
	}
}

func cString(b []byte) (string, []byte) {
	text, rest, _ := bytes.Cut(b, []byte{0})
	return string(text), rest
}

var (
	commitText = regexp.MustCompile(`(?i)(^|;)\s*(--[^\n]*\n\s*)*(commit|end)\b`)
	nameLine   = regexp.MustCompile(`^-- name: (\w+)`)
)

// isCommit picks a COMMIT, even among other statements of a simple query.
func isCommit(sql string) bool { return commitText.MatchString(sql) }

// isNamed picks a statement by its name in queries/.
func isNamed(name string) func(string) bool {
	return func(sql string) bool { return strings.HasPrefix(sql, "-- name: "+name+" ") }
}

// observe counts a statement and reports whether it was picked.
func (c *proxyConn) observe(sql string) bool {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if m := nameLine.FindStringSubmatch(sql); m != nil {
		c.proxy.statement[m[1]]++
	}
	return c.proxy.hit != nil && c.proxy.hit(sql)
}

func (c *proxyConn) send(group []byte) bool {
	if !c.wait() {
		return false
	}
	_, err := c.server.Write(group)
	return err == nil
}

// deliver sends the messages of one round trip to the server with the given
// fault. It reports whether the connection continues.
func (c *proxyConn) deliver(group []byte, how fault) bool {
	switch how {
	case passOn:
		return c.send(group)
	case cutBefore:
		return false
	case reset:
		c.keepBack()
		c.send(group)
		_ = c.client.SetLinger(0)
		return false
	case hang:
		c.keepBack()
		c.send(group)
		// Next the client sends its Terminate message, or just closes the connection.
		_, _ = c.client.Read(make([]byte, 1))
		return false
	}
	whole := c.keepBack()
	if how == late {
		_ = c.client.CloseWrite()
		<-c.proxy.release
	}
	if !c.send(group) {
		return false
	}
	if c.proxy.afterLoss != nil {
		defer c.proxy.afterLoss()
	}
	select {
	case <-whole:
	case <-c.closed:
		return false
	}
	if how == late {
		close(c.proxy.arrived)
		return false
	}
	c.mu.Lock()
	answer := bytes.Clone(c.answer.Bytes())
	c.mu.Unlock()
	switch how {
	case halfAnswer:
		_, _ = c.client.Write(answer[:len(answer)/2])
	case adminShutdown:
		notice, _ := (&pgproto3.ErrorResponse{
			Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01",
			Message: "terminating connection due to administrator command",
		}).Encode(nil)
		_, _ = c.client.Write(notice)
	}
	return false
}

// keepBack withholds the server's next answer from the client. The channel is
// closed when the answer is complete.
func (c *proxyConn) keepBack() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.capture, c.whole = true, make(chan struct{})
	return c.whole
}

// fromServer forwards the server's messages.
func (c *proxyConn) fromServer() {
	defer c.close()
	r := bufio.NewReader(c.server)
	for {
		message, err := frame(r, false)
		if err != nil {
			if c.kept(nil) {
				<-c.closed // the fault decides how the client's side ends
			}
			return
		}
		if c.kept(message) {
			continue
		}
		if !c.wait() {
			return
		}
		// Forward everything that has arrived at once, so that the proxy costs
		// little.
		for r.Buffered() >= 5 {
			more, err := frame(r, false)
			if err != nil {
				break
			}
			if c.kept(more) {
				break
			}
			message = append(message, more...)
		}
		if _, err := c.client.Write(message); err != nil {
			return
		}
	}
}

// kept withholds a message if requested, and reports whether it did.
func (c *proxyConn) kept(message []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.capture {
		return false
	}
	c.answer.Write(message)
	if c.whole != nil && (message == nil || message[0] == 'Z') { // the end, or ReadyForQuery
		close(c.whole)
		c.whole = nil
	}
	return true
}
