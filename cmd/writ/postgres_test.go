package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store/storetest"
)

// service is what `writ server --config FILE` is given by an operator: both
// ports with TLS, a passphrase, a PostgreSQL database.
type service struct {
	w      *world
	file   string
	folder string
}

func newService(t *testing.T, database string) *service {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &safeBuffer{}, up: newUpstream(t)}
	s := &service{w: w, file: filepath.Join(w.dir, "writ.yaml"), folder: filepath.Join(w.dir, "data")}
	certificate, roots, err := acmeCertificate("localhost", "writ.acme.test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s.write("tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})))
	s.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	s.write("roots.pem", roots)
	s.write("passphrase", "correct horse battery staple writ\n")
	at := func(name string) string { return filepath.Join(w.dir, name) }
	listen := `{listen: "127.0.0.1:0", cert: "` + at("tls.crt") + `", key: "` + at("tls.key") + `"}`
	s.write("writ.yaml", `data: "`+s.folder+`"
database: "`+database+`"
api: `+listen+`
proxy: `+listen+`
key: {passphrase_file: "`+at("passphrase")+`"}
log: {level: debug, format: json}
`)
	t.Cleanup(w.stop)
	return s
}

func (s *service) write(name, content string) {
	s.w.t.Helper()
	if err := os.WriteFile(filepath.Join(s.w.dir, name), []byte(content), 0o600); err != nil {
		s.w.t.Fatal(err)
	}
}

// start brings the server up from its file and signs in with the first key.
func (s *service) start() {
	w := s.w
	w.t.Helper()
	cfg, err := loadConfig(s.file)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.server, err = startServer(w.t.Context(), cfg, newLogger(cfg.Log, w.log)); err != nil {
		w.t.Fatalf("start: %v", err)
	}
	if err := w.server.greet(w.t.Context(), io.Discard); err != nil {
		w.t.Fatal(err)
	}
	key := filepath.Join(s.folder, "first-admin.key")
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		w.t.Fatalf("the first key: %v, %v", info, err)
	}
	token, err := readToken(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.token = string(token)
	w.admin, err = client.New(client.Config{Address: "https://localhost:" + portOf(w.server.apiAt.Addr().String()), Token: w.token, Roots: s.roots()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.admin.Close)
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

func (s *service) roots() *x509.CertPool {
	b, err := os.ReadFile(filepath.Join(s.w.dir, "roots.pem"))
	if err != nil {
		s.w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return pool
}

// browser goes through the proxy's TLS.
func (s *service) browser(token string) *http.Client {
	trust := s.roots()
	root, err := s.w.admin.CA(s.w.t.Context())
	if err != nil {
		s.w.t.Fatal(err)
	}
	trust.AppendCertsFromPEM(root)
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "https", Host: "localhost:" + portOf(s.w.server.proxyAt.Addr().String()), User: url.UserPassword("writ", token)}),
		TLSClientConfig: &tls.Config{RootCAs: trust},
	}
	s.w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// A service on PostgreSQL, as an operator runs it: the first key is private and
// lasts a day, a use goes through both TLS ports, everything is there after a
// restart, a second server is refused, and the ledger holds (R42).
func TestServiceOnPostgres(t *testing.T) {
	database := storetest.NewCluster(t).Database(t)
	s := newService(t, database)
	w := s.w
	s.start()
	keys := must[*client.Page[client.Key]](t)(w.admin.Keys(t.Context(), client.KeyFilter{}))
	if len(keys.Items) != 1 {
		t.Fatalf("a fresh database has %d keys", len(keys.Items))
	}
	first := keys.Items[0]
	if left := time.Until(first.Expires.Go()); first.Role != writ.RoleAdmin || left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("the first key is %s for %v", first.Role, left)
	}
	must[*client.Change[client.Identity]](t)(w.admin.AddIdentity(t.Context(), client.NewIdentity{Kind: writ.Person, Name: "bo@acme.test"}))
	w.stage()
	resp, body := w.get(s.browser(w.session.Token), base+"/v1/x")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"authenticated":true`) {
		t.Fatalf("a use: %d %s", resp.StatusCode, body)
	}
	resp, body = w.get(s.browser(w.session.Token), base+"/v2/x")
	denied(t, resp, body, writ.OutOfAuthority)

	second := newService(t, database)
	cfg, err := loadConfig(second.file)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := startServer(t.Context(), cfg, silentLog()); err == nil {
		_ = other.close()
		t.Fatal("a second server was started on the same database")
	} else if writ.KindOf(err) != writ.KindUnavailable {
		t.Errorf("the second server: %v (%s)", err, writ.KindOf(err))
	}

	w.stop()
	s.start()
	resp, body = w.get(s.browser(w.open(agentName).Token), base+"/v1/y")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"authenticated":true`) {
		t.Errorf("a use after the restart: %d %s", resp.StatusCode, body)
	}
	if status := must[*client.Status](t)(w.admin.Status(t.Context())); status.Database != "postgres" {
		t.Errorf("the status says the database is %s; its address may hold a password", status.Database)
	}
	export, err := os.Create(filepath.Join(w.dir, "export"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = export.Close() }()
	must[*client.Checkpoint](t)(w.admin.Export(t.Context(), export))
	if _, err := export.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if r, err := ledger.VerifyExport(t.Context(), export, ledger.VerifyConfig{}); err != nil || !r.OK() {
		t.Errorf("the ledger does not hold: %v, %v", r, err)
	}
	w.oracle()
	if strings.Contains(w.log.String(), "correct horse") || strings.Contains(w.log.String(), w.token) {
		t.Error("the log holds the passphrase or the key")
	}

	// A fresh data folder beside the used database makes no new keys.
	w.stop()
	if err := os.Rename(s.folder, s.folder+".away"); err != nil {
		t.Fatal(err)
	}
	if cfg, err = loadConfig(s.file); err != nil {
		t.Fatal(err)
	}
	_, err = startServer(t.Context(), cfg, silentLog())
	var shown *writ.Error
	if !errors.As(err, &shown) || shown.Kind != writ.KindUnavailable || !strings.Contains(shown.Message, "keyring") {
		t.Errorf("a fresh folder beside a used database: %v", err)
	}
}
