package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quern/localpg"
)

// authority signs certificates.
type authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), name: name}
	a.cert, a.key = a.issue(t, "root", &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) root() string { return filepath.Join(a.dir, "root.crt") }

// issue writes name.crt and name.key. The authority's own certificate is self-signed.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{
		".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// forServer returns a template of a certificate for a server on this machine.
func forServer() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// secured is a server with TLS whose certificate can be changed.
type secured struct {
	*localpg.Server
	t    *testing.T
	data string
}

// newSecured starts such a server. It accepts client certificates of the authority. The
// lines in hba come before the line that accepts every client with a password.
func newSecured(t *testing.T, clients *authority, hba ...string) *secured {
	t.Helper()
	s := &secured{Server: ownServer(t, nil), t: t}
	s.data = filepath.Join(s.Dir(), "data")
	s.put(clients.root(), "clients.crt")
	conf := filepath.Join(s.data, "pg_hba.conf")
	old, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(strings.Join(append(hba, string(old)), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// put copies a file to the server's data directory, for the account that the server runs
// as.
func (s *secured) put(from, to string) {
	s.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := os.Stat(s.data)
	if err != nil {
		s.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	path := filepath.Join(s.data, to)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		s.t.Fatal(err)
	}
}

// use changes the server's certificate, and returns once the server shows it.
func (s *secured) use(a *authority, name string) {
	s.t.Helper()
	s.put(filepath.Join(a.dir, name+".crt"), "server.crt")
	s.put(filepath.Join(a.dir, name+".key"), "server.key")
	admin(s.t, s.URL(), "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET ssl_ca_file = 'clients.crt'", "SELECT pg_reload_conf()")
	text, err := os.ReadFile(filepath.Join(a.dir, name+".crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	eventually(s.t, "the server has its new certificate", func() bool {
		shown, err := s.shown()
		return err == nil && string(shown) == string(block.Bytes)
	})
}

// shown returns the certificate that the server shows.
func (s *secured) shown() ([]byte, error) {
	u, err := url.Parse(s.URL())
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer := make([]byte, 1)
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return nil, err
	}
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		return nil, fmt.Errorf("no TLS (%w)", err)
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0].Raw, nil
}
