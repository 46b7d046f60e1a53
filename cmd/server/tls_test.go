package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quern/internal/storetest"
)

// writeCertificate writes a certificate with a serial number, and its key, to the two files.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "quern"}, NotBefore: until.Add(-time.Hour * 24 * 400), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if name == os.DevNull {
			continue
		}
		// As a renewal does it: the new file replaces the old one.
		if err := os.WriteFile(name+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
}

// serial returns the serial number of the certificate that a new connection gets.
func serial(t *testing.T, address string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// awaitSerial waits until new connections get the certificate with a serial number.
func awaitSerial(t *testing.T, address string, want int64) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for got := serial(t, address); got != want; got = serial(t, address) {
		if time.Now().After(deadline) {
			t.Fatalf("still the certificate %d, want %d", got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A certificate is used as soon as its files are replaced. Files that do not fit, as while they
// are replaced one after the other, change nothing. Connections that are open stay.
func TestServe_TLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	year := time.Now().AddDate(1, 0, 0)
	writeCertificate(t, cert, key, 1, year)
	database := storetest.NewURL(t)
	p := serve(t, t.TempDir(), "DATABASE_URL="+database, "TLS_CERT="+cert, "TLS_KEY="+key, "OPERATOR_LISTEN=127.0.0.1:0", "AUTH=tokens")
	address, ok := strings.CutPrefix(p.base, "https://")
	if !ok || !strings.HasPrefix(p.banner["Metrics"], "https://") {
		t.Fatalf("the banner is not of TLS: %v", p.banner)
	}
	token := createToken(t, database, "operate")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	signIn := func() *http.Response {
		t.Helper()
		resp, err := client.Post(p.base+"/v1/session", "application/json", strings.NewReader(`{"token":"`+token+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	resp := signIn()
	if cookies := resp.Cookies(); resp.StatusCode != 200 || len(cookies) == 0 || !cookies[0].Secure || resp.ProtoMajor != 1 {
		t.Errorf("signing in: %s %s, cookies %v", resp.Proto, resp.Status, resp.Cookies())
	}

	writeCertificate(t, cert, os.DevNull, 2, year)
	time.Sleep(certificateCheck) // until then the files are not looked at
	if got := serial(t, address); got != 1 {
		t.Errorf("a certificate without its key is used: %d", got)
	}
	p.awaitStderr(t, "the new TLS certificate cannot be used: the old one stays")
	if err := os.WriteFile(key, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	signIn() // the connection stays
	writeCertificate(t, cert, key, 3, year)
	awaitSerial(t, address, 3)
	awaitSerial(t, strings.TrimPrefix(strings.TrimSuffix(p.banner["Console"], "/"), "https://"), 3)
	writeCertificate(t, cert, key, 4, time.Now().Add(-time.Hour))
	time.Sleep(certificateCheck)
	if got := serial(t, address); got != 3 {
		t.Errorf("an expired certificate is used: %d", got)
	}
	p.awaitStderr(t, "expired on")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	time.Sleep(certificateCheck)
	if got := serial(t, address); got != 3 {
		t.Errorf("without a key: %d", got)
	}
}

func TestServe_TLSRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, other := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "other.pem")
	old, oldKey := filepath.Join(dir, "old.pem"), filepath.Join(dir, "old-key.pem")
	writeCertificate(t, cert, key, 1, time.Now().AddDate(1, 0, 0))
	writeCertificate(t, old, oldKey, 1, time.Now().Add(-time.Hour))
	writeCertificate(t, os.DevNull, other, 1, time.Now().AddDate(1, 0, 0))
	database := "DATABASE_URL=" + storetest.NewURL(t)
	for name, test := range map[string]struct {
		env  []string
		code int
		want string
	}{
		"Half":    {[]string{"TLS_CERT=" + cert}, exitUsage, "only one of TLS_CERT and TLS_KEY is set: set both, or none"},
		"Missing": {[]string{"TLS_CERT=" + cert + "x", "TLS_KEY=" + key}, exitFailure, "TLS_CERT and TLS_KEY: "},
		"Other":   {[]string{"TLS_CERT=" + cert, "TLS_KEY=" + other}, exitFailure, "private key does not match"},
		"Expired": {[]string{"TLS_CERT=" + old, "TLS_KEY=" + oldKey}, exitFailure, "expired on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := command(t, t.TempDir(), append(test.env, database))
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if code := c.exit(t); code != test.code || !strings.Contains(c.stderr.String(), test.want) {
				t.Errorf("exit %d: %s", code, c.stderr)
			}
		})
	}
}
