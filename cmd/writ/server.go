package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/api"
	"writ.dev/writ/authority"
	"writ.dev/writ/broker"
	"writ.dev/writ/broker/egress"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/nodump"
	"writ.dev/writ/signin"
	"writ.dev/writ/store"
	"writ.dev/writ/store/postgres"
	"writ.dev/writ/store/sqlite"
	"writ.dev/writ/vault"
)

// serverFlags are the flags of `writ server`.
type serverFlags struct {
	dev                        bool
	config, data, person, a, p string
	verbose                    bool
}

func (c *cli) serverCommand() *cobra.Command {
	var f serverFlags
	return c.command(spec{
		use: "server", short: "Run the server: API and proxy",
		long: `With --dev it needs nothing: it listens on loopback only, keeps its data in
~/.writ/dev, and leaves a token there that this program finds by itself.
With --config it runs as a service; anything but loopback needs TLS.

A configuration file:

  data: /var/lib/writ
  database: sqlite                 # or postgres://writ@db/writ
  api:   {listen: "0.0.0.0:8440", cert: /etc/writ/tls.crt, key: /etc/writ/tls.key}
  proxy: {listen: "0.0.0.0:8441", cert: /etc/writ/tls.crt, key: /etc/writ/tls.key}
  key:   {file: /etc/writ/key}     # outside the data folder; or passphrase_file
  log:   {level: info, format: json}`,
		example: "writ server --dev\nwrit server --config /etc/writ/writ.yaml",
		noJSON:  "it runs until it is stopped, and logs",
		flags: func(s *pflag.FlagSet) {
			s.BoolVar(&f.dev, "dev", false, "development server on loopback, without any configuration")
			s.StringVar(&f.config, "config", "", "configuration `file`")
			s.StringVar(&f.data, "data", "", "`folder` for the data of --dev (default ~/.writ/dev)")
			s.StringVar(&f.person, "person", "you@writ.test", "e-mail `address` of the first person, with --dev on an empty folder")
			s.StringVar(&f.a, "api", "", "`address` for the API with --dev (default 127.0.0.1:8440)")
			s.StringVar(&f.p, "proxy", "", "`address` for the proxy with --dev (default 127.0.0.1:8441)")
			s.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
		},
		run: func(ctx context.Context, _ []string) error { return f.run(ctx, c.stderr) },
	})
}

func (f *serverFlags) run(ctx context.Context, talk io.Writer) error {
	cfg, err := f.load()
	if err != nil {
		return err
	}
	s, err := startServer(ctx, cfg, newLogger(cfg.Log, talk))
	if err != nil {
		return err
	}
	if err := s.greet(ctx, talk); err != nil {
		return errors.Join(err, s.close())
	}
	return s.wait(ctx)
}

// load gives the configuration that the flags ask for.
func (f *serverFlags) load() (*serverConfig, error) {
	if f.dev == (f.config != "") {
		return nil, writ.Invalid("dev", "either --dev or --config says how to run", "to try it: writ server --dev")
	}
	if !f.dev {
		return loadConfig(f.config)
	}
	data := f.data
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, writ.Invalid("data", "this user has no home folder", "name a folder with --data")
		}
		data = filepath.Join(home, ".writ", "dev")
	}
	data = filepath.Clean(data)
	cfg := &serverConfig{
		Data: data, Key: keyConfig{File: data + ".key"}, dev: true, person: f.person,
		API: listenConfig{Listen: f.a}, Proxy: listenConfig{Listen: f.p},
	}
	if f.verbose {
		cfg.Log.Level = "debug"
	}
	if err := cfg.check("--dev"); err != nil {
		return nil, err
	}
	for name, l := range map[string]listenConfig{"api": cfg.API, "proxy": cfg.Proxy} {
		if !isLoopback(l.Listen) {
			return nil, writ.Invalid(name, "a development server listens on loopback only, not on "+writ.Printable(l.Listen, 60), "use --config with TLS for anything else")
		}
	}
	return cfg, nil
}

func newLogger(c logConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	if c.Level != "" {
		// check has accepted the word.
		_ = level.UnmarshalText([]byte(c.Level))
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// server is a running server. The fields are in the order in which they are
// made; close takes them down in the reverse order.
type server struct {
	cfg      *serverConfig
	log      *slog.Logger
	keys     *serverKeys
	store    *store.Store
	index    *authority.Index
	broker   *broker.Broker
	proxy    *egress.Server
	api      *api.Server
	http     *http.Server
	operator *writ.Org

	apiAt, proxyAt net.Listener
	greeted        bool // what other commands look for was left for them

	cancel context.CancelFunc // ends the proxy
	ended  chan error
	wg     sync.WaitGroup
}

// startServer brings a server up. ctx bounds the start; the server then runs
// until close. A failed start leaves nothing behind but what was durable.
func startServer(ctx context.Context, cfg *serverConfig, log *slog.Logger) (s *server, err error) {
	if err := nodump.Protect(); err != nil {
		log.Warn("the memory of this process is less protected than it should be", "err", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s = &server{cfg: cfg, log: log, cancel: cancel, ended: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	engine, err := openEngine(ctx, cfg)
	if err != nil {
		return s, err
	}
	// The engine holds the lock on the data: from here on nobody else makes keys.
	if s.keys, err = openKeys(ctx, cfg, engine, log); err != nil {
		return s, errors.Join(err, engine.Close())
	}
	if s.store, err = store.Open(ctx, store.Config{
		Engine: engine, Clock: time.Now, Signer: s.keys.signer, Origin: origin, Anchor: s.keys.anchor, CheckPolicy: decide.CheckPolicy, Log: log,
	}); err != nil {
		return s, err
	}
	// The ports before the parts: what the server says of itself names them.
	if s.apiAt, err = cfg.API.open("api"); err != nil {
		return s, err
	}
	if s.proxyAt, err = cfg.Proxy.open("proxy"); err != nil {
		return s, err
	}
	if err := s.wire(ctx); err != nil {
		return s, err
	}
	s.serve(running)
	return s, nil
}

// openEngine opens the database and takes its lock.
func openEngine(ctx context.Context, cfg *serverConfig) (store.Engine, error) {
	if cfg.Database == "sqlite" {
		return sqlite.Open(ctx, sqlite.Config{Folder: cfg.Data})
	}
	return postgres.Open(ctx, cfg.Database)
}

func origin(org writ.ID) string { return "writ/" + string(org) }

// wire makes the parts that stand on the store, in the order of their ranks.
func (s *server) wire(ctx context.Context) error {
	s.index = authority.New(authority.Config{Load: s.store.Load, Locate: s.store.Locate, Clock: time.Now})
	secrets := vault.New(vault.Config{Keys: s.keys.provider, Keysets: s.store.Keysets(), Versions: s.store})
	s.broker = broker.New(broker.Config{Authority: s.index, Logs: s.store, Vault: secrets, Clock: time.Now, Logger: s.log})
	certifier := newCertifier(s.keys.root, s.store)
	// The order is the order in which a committed change reaches them: the index
	// first, so that whoever is cut and asks again gets the new answer.
	s.store.Subscribe(s.index)
	s.store.Subscribe(s.broker)
	s.store.Subscribe(certifier)
	s.store.Believe(s.index)
	if err := s.vouched(ctx); err != nil {
		return err
	}
	var err error
	if s.operator, err = s.genesis(ctx); err != nil {
		return err
	}
	s.proxy = egress.New(egress.Config{
		Broker: s.broker, Authority: s.index, Certifier: certifier, Own: s.own, Clock: time.Now, Logger: s.log,
	})
	gate := signin.New(signin.Config{Directory: s.index, Clock: time.Now})
	s.api = api.New(api.Config{
		Store: s.store, Gate: gate, Flights: s.broker, Sealer: secrets, Rebuild: authority.Rebuild, Evidence: s.evidence, CA: s.keys.root.PEM(),
		VerifierKeys: s.keys.verifierKeys, Origin: origin, Operator: s.operator.ID, About: s.about(), Clock: time.Now, Logger: s.log, Registry: s.metrics(),
		Standing: func(org writ.ID) bool { return s.index.Ready(context.WithoutCancel(ctx), org) != nil },
	})
	return s.recover(ctx)
}

// metrics are those of the parts that the API does not know.
func (s *server) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "writ_proxy_unauthenticated_total", Help: "Requests to the proxy without a session that is known; they are counted and not logged.",
	}, func() float64 { return float64(s.proxy.Unauthenticated()) }))
	return r
}

// recover ends what cannot have outlived the process before this one: sessions
// whose control stream it held.
func (s *server) recover(ctx context.Context) error {
	orgs, err := s.store.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, o := range orgs {
		if err := s.api.RecoverSessions(ctx, o.ID); err != nil {
			return err
		}
	}
	return nil
}

// own lists the server's listeners, which no upstream may be.
func (s *server) own() []netip.AddrPort {
	var all []netip.AddrPort
	for _, l := range []net.Listener{s.apiAt, s.proxyAt} {
		if l == nil {
			continue
		}
		if a, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// serve answers on both ports.
func (s *server) serve(ctx context.Context) {
	s.http = &http.Server{
		Handler: boundBodies(s.api, bodyTime), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what a client broke is no news
	}
	s.wg.Go(func() {
		if err := s.http.Serve(s.apiAt); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.ended <- fmt.Errorf("api: %w", err)
		}
	})
	s.wg.Go(func() {
		if err := s.proxy.Serve(ctx, s.proxyAt); err != nil {
			s.ended <- fmt.Errorf("proxy: %w", err)
		}
	})
}

// bodyTime is how long the body of a request to the API may take.
const bodyTime = 10 * time.Second

// boundBodies gives the body of each request a deadline. The server reads what
// a handler left of it before it goes on, also for callers whom it does not
// know: a body that was announced and never sent would hold its connection for
// ever. A request without one, as streams are, has no deadline.
func boundBodies(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)) // fails where the connection is gone
		}
		next.ServeHTTP(w, r)
	})
}

// open listens, with TLS where certificates are named.
func (l listenConfig) open(name string) (net.Listener, error) {
	listener, err := net.Listen("tcp", l.Listen)
	if err != nil {
		return nil, writ.Errorf(writ.KindUnavailable, "the %s cannot listen on %s", name, l.Listen).
			WithFix("see what holds the port (ss -ltnp), or choose another").WithCause(err)
	}
	if l.Cert == "" {
		return listener, nil
	}
	pair, err := tls.LoadX509KeyPair(l.Cert, l.Key)
	if err != nil {
		_ = listener.Close()
		return nil, writ.Invalid(name, "the certificate and key of "+name+" cannot be used", "check that "+l.Cert+" and "+l.Key+" are PEM, belong together, and can be read").WithCause(err)
	}
	return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}), nil
}

// wait serves until ctx ends or a listener fails, then takes the server down.
func (s *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.close()
	case err := <-s.ended:
		return errors.Join(err, s.close())
	}
}

// closeTime bounds the way down; what is still open then is cut.
const closeTime = 10 * time.Second

// close takes down what was brought up, in the reverse order: no new requests,
// then nothing in flight, then the ledger with the last outcomes.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	if s.api != nil {
		errs = append(errs, s.api.Close(ctx))
	}
	if s.http != nil {
		if err := s.http.Shutdown(ctx); err != nil {
			errs = append(errs, s.http.Close())
		}
	} else if s.apiAt != nil {
		_ = s.apiAt.Close()
	}
	s.cancel()
	if s.http == nil && s.proxyAt != nil {
		_ = s.proxyAt.Close()
	}
	s.wg.Wait()
	if s.store != nil {
		errs = append(errs, s.store.Close(ctx))
	}
	if s.cfg.dev && s.greeted {
		// Whoever takes the port next must not be sent the token that is for us.
		errs = append(errs, os.Remove(s.devStatePath()))
	}
	return errors.Join(errs...)
}
