package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often the files of the certificate are looked at, at most. A
// handshake costs a thousand times as much.
const certificateCheck = time.Second

// certificate is the service's TLS certificate, which is read again when its files change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]fileState // what current, or a pair that does not fit, was read from
	checked time.Time
}

// fileState tells whether a file has changed. A replaced file has another time, also if it is
// reached by a symbolic link, as in a Kubernetes Secret.
type fileState struct {
	changed time.Time
	size    int64
}

// newCertificate reads the files of TLS_CERT and TLS_KEY. It returns nil if neither is set.
func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	var err error
	if c.read, err = c.states(); err == nil {
		err = c.load()
	}
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT and TLS_KEY: %w: name a certificate and its key, both in PEM", err)
	}
	return c, nil
}

func (c *certificate) states() (states [2]fileState, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return states, err
		}
		states[i] = fileState{info.ModTime(), info.Size()}
	}
	return states, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the certificate in %s expired on %s", c.certFile, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	c.current = &pair
	return nil
}

// get returns the certificate for a handshake. If its files have changed, it reads them
// first. If they do not fit, as while they are being replaced, the old one stays.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certificateCheck {
		return c.current, nil
	}
	c.checked = time.Now()
	now, err := c.states()
	if err == nil && now == c.read {
		return c.current, nil
	}
	if err == nil {
		err = c.load()
	}
	switch {
	case err == nil:
		c.log.Info("the TLS certificate was read again, because its files have changed", "expires", c.current.Leaf.NotAfter)
	case now != c.read: // and not again before they change
		c.log.Warn("the new TLS certificate cannot be used: the old one stays", "error", err)
	}
	c.read = now
	return c.current, nil
}

// serve adds the certificate to a server. HTTP/2 is off, because the progress of streams is
// measured by what the kernel holds unsent for one connection, which HTTP/2 shares.
func (c *certificate) serve(s *http.Server) {
	s.TLSConfig = &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
	s.Protocols = &http.Protocols{}
	s.Protocols.SetHTTP1(true)
}

// validateTLS rejects one file without the other.
func (s *settings) validateTLS() error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("only one of TLS_CERT and TLS_KEY is set: set both, or none")
	}
	return nil
}

// expiresSoon is when doctor reminds of a certificate. Automatic renewal is earlier.
const expiresSoon = 14 * 24 * time.Hour

// checkCertificate reports a certificate that cannot be used, or not for long.
func (x *report) checkCertificate(s settings) {
	c, err := newCertificate(s.TLSCert, s.TLSKey, slog.New(slog.DiscardHandler))
	switch {
	case err != nil:
		x.wrong("%v", err)
	case c != nil:
		until := c.current.Leaf.NotAfter
		x.fact("certificate", "valid until %s", until.UTC().Format(time.DateOnly))
		if time.Until(until) < expiresSoon {
			x.note("the certificate in TLS_CERT expires on %s: replace the files, which the service then reads again", until.UTC().Format(time.DateOnly))
		}
	}
}
