package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// acme is the demo's two upstream services, on loopback, with a certificate
// authority of their own.
type acme struct {
	secret      string
	roots       string // PEM
	api, events string // addresses
	posts       atomic.Int64
	streams     atomic.Int64
	servers     []*http.Server
}

func startAcme() (*acme, error) {
	a := &acme{secret: "acme_live_" + rand.Text()}
	certificate, roots, err := acmeCertificate("api.acme.test", "events.acme.test")
	if err != nil {
		return nil, err
	}
	a.roots = roots
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/refunds", a.refunds)
	mux.HandleFunc("/v1/refunds/", a.refunds)
	if a.api, err = a.serve(mux, certificate); err != nil {
		return nil, err
	}
	a.events, err = a.serve(http.HandlerFunc(a.stream), certificate)
	return a, err
}

func (a *acme) serve(h http.Handler, certificate tls.Certificate) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, ReadHeaderTimeout: 10 * time.Second}
	a.servers = append(a.servers, s)
	go func() { _ = s.ServeTLS(l, "", "") }()
	return l.Addr().String(), nil
}

func (a *acme) close() {
	for _, s := range a.servers {
		_ = s.Close()
	}
}

// refunds answers only who shows the key, and echoes what it saw, as careless
// services do.
func (a *acme) refunds(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		a.posts.Add(1)
	}
	saw := r.Header.Get("Authorization")
	w.Header().Set("Content-Type", "application/json")
	if saw != "Bearer "+a.secret {
		w.WriteHeader(http.StatusUnauthorized)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"authenticated": saw == "Bearer "+a.secret, "refund": 7, "amount": "49.95", "you_sent": saw})
}

// stream sends an event every 100 ms for as long as the client listens.
func (a *acme) stream(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+a.secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.streams.Add(1)
	defer a.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 1; ; i++ {
		if _, err := fmt.Fprintf(w, "data: refund %d was paid out\n\n", i); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// awaitStreamsDown waits until the service has seen every stream end.
func (a *acme) awaitStreamsDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for a.streams.Load() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service still sees %d streams", a.streams.Load())
		case <-tick.C:
		}
	}
	return nil
}

// acmeCertificate makes a certificate authority and a certificate for the hosts.
func acmeCertificate(hosts ...string) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme demo authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	pemRoot := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pemRoot), nil
}
