package run

import (
	_ "embed"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"writ.dev/writ"
)

// proxyVariables lead to the relay. wget and curl read the lower-case forms,
// others the upper-case ones.
var proxyVariables = []string{"HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "CARGO_HTTP_PROXY"}

// bundleVariables replace the roots of the tools that read them, so they get
// the whole: system, user, Writ. SSL_CERT_DIR adds to SSL_CERT_FILE and is
// left alone.
var bundleVariables = []string{
	"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "PIP_CERT",
	"CARGO_HTTP_CAINFO", "npm_config_cafile", "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS",
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "CODEX_CA_CERTIFICATE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
}

// extraVariables add to the roots of the tools that read them.
var extraVariables = []string{"NODE_EXTRA_CA_CERTS", "DENO_CERT"}

// alwaysDirect never goes through the proxy: tools talk to servers of their
// own there, and so does the relay.
var alwaysDirect = []string{"localhost", "127.0.0.1", "::1"}

//go:embed writ-node-proxy.cjs
var nodeProxy []byte

// EnvironmentConfig says what the program's environment is made of.
type EnvironmentConfig struct {
	Inherited []string // the user's environment, as os.Environ gives it
	Proxy     string   // the relay, "http://127.0.0.1:PORT", without a user or password
	CA        []byte   // Writ's certificate authority, PEM
	Hosts     []string // hosts that the run may use a credential for: which placeholders make sense
	TempDir   string   // where the run's private folder is made; os.TempDir() if empty
	Deny      []string // as in ChildConfig: decides whether the temporary folder can be used
}

// Env is the environment of one run. Close removes its files.
type Env struct {
	Vars     []string // for the program, "NAME=value"
	Secrets  []string // names of inherited variables that look like secrets, which the program can read
	Warnings []string // what the user should know, one sentence each

	dir *runDir
}

// Dir is the run's private folder (0700).
func (e *Env) Dir() string { return e.dir.path }

// Close removes the run's files. The environment is of no use afterwards.
func (e *Env) Close() error { return e.dir.close() }

// Environment builds the environment of one run: the user's own, without
// Writ's variables, with what leads ordinary tools through the relay and lets
// them trust Writ's certificates beside those they trusted before (T45, T46).
//
// Writ's own variables (WRIT_TOKEN, WRIT_ADDR, every WRIT_...) are always taken
// out: the program never holds a token, and has no business with the server's
// address. Other secrets that the user exported are left, since the program
// may need one that Writ does not hold, but they are named in Secrets, and the
// banner shows them. A placeholder never replaces a value that the user set.
func Environment(cfg EnvironmentConfig) (*Env, error) {
	proxy, err := url.Parse(cfg.Proxy)
	if err != nil || proxy.Scheme != "http" || proxy.Host == "" || proxy.User != nil {
		return nil, writ.Invalid("proxy", "the relay's address is not http://HOST:PORT without a user", "")
	}
	in := environ(cfg.Inherited)
	e := &Env{}

	var all, extra trust
	if !all.addSystem() {
		e.Warnings = append(e.Warnings, "no system roots were found: tools trust Writ and your own bundles only")
	}
	for _, path := range userTrust(in) {
		if err := all.addPath(path); err != nil {
			e.Warnings = append(e.Warnings, "certificates left out: "+err.Error())
		}
	}
	for _, name := range extraVariables {
		if path := in.get(name); path != "" {
			_ = extra.addPath(path) // reported above
		}
	}
	if all.addPEM(cfg.CA) == 0 {
		return nil, writ.Invalid("ca", "Writ's certificate authority is not a certificate in PEM form", "")
	}
	extra.addPEM(cfg.CA)

	if e.dir, err = newRunDir(cfg.TempDir); err != nil {
		return nil, unavailable("the run's private folder cannot be made", err).
			WithFix("check that TMPDIR (or /tmp) exists, has room and can be written")
	}
	set, err := e.writeFiles(in, cfg.Proxy, all.pem.Bytes(), extra.pem.Bytes())
	if err != nil {
		return nil, unavailable("the run's files cannot be written", errors.Join(err, e.dir.close()))
	}
	tmp, err := e.temporary(in, cfg.Deny)
	if err != nil {
		return nil, unavailable("the run's files cannot be written", errors.Join(err, e.dir.close()))
	}
	set = append(set, tmp...)
	set = append(set, noProxy(in, e)...)
	set = append(set, placeholders(in, cfg.Hosts)...)

	e.Vars = in.without(set)
	e.Secrets = secretNames(e.Vars)
	e.Vars = append(e.Vars, set...)
	return e, nil
}

// writeFiles fills the run's folder and returns the variables that name it.
func (e *Env) writeFiles(in environ, proxy string, all, extra []byte) ([]string, error) {
	bundle, err := e.dir.write("ca-bundle.pem", all)
	if err != nil {
		return nil, err
	}
	additions, err := e.dir.write("ca-extra.pem", extra)
	if err != nil {
		return nil, err
	}
	rc, err := e.dir.write("wgetrc", wgetrc(in, proxy, bundle))
	if err != nil {
		return nil, err
	}
	preload, err := e.dir.write("writ-node-proxy.cjs", nodeProxy)
	if err != nil {
		return nil, err
	}
	var set []string
	for _, name := range proxyVariables {
		set = append(set, name+"="+proxy)
	}
	for _, name := range bundleVariables {
		set = append(set, name+"="+bundle)
	}
	for _, name := range extraVariables {
		set = append(set, name+"="+additions)
	}
	return append(set, "WGETRC="+rc, "NODE_USE_ENV_PROXY=1", "NODE_OPTIONS="+nodeOptions(in, preload)), nil
}

// temporary gives the program a temporary folder of its own where the usual one
// takes no new names, because a denied folder lies in it (see Isolation.Kept).
// It goes with the run.
func (e *Env) temporary(in environ, deny []string) ([]string, error) {
	tmp := in.get("TMPDIR")
	if tmp == "" {
		tmp = "/tmp"
	}
	real, err := filepath.EvalSymlinks(tmp)
	if err != nil || !slices.Contains(Isolate(deny).Kept, real) {
		return nil, nil
	}
	own := filepath.Join(e.dir.path, "tmp")
	if err := os.Mkdir(own, 0o700); err != nil {
		return nil, err
	}
	return []string{"TMPDIR=" + own}, nil
}

// wgetrc is the user's settings with ours behind them: of two lines, wget
// takes the last. GnuTLS builds read no SSL_CERT_FILE, and a proxy named in
// this file would beat the environment.
func wgetrc(in environ, proxy, bundle string) []byte {
	user, err := readRegular(userWgetrc(in), 1<<20)
	if err != nil {
		user = nil // none, or none that wget could read
	}
	var b strings.Builder
	b.Write(user)
	if len(user) > 0 && user[len(user)-1] != '\n' {
		b.WriteByte('\n')
	}
	b.WriteString("use_proxy = on\nhttp_proxy = " + proxy + "\nhttps_proxy = " + proxy + "\nca_certificate = " + bundle + "\n")
	return []byte(b.String())
}

// nodeOptions appends the preload to the user's NODE_OPTIONS. It is added for
// every version, since nobody knows which Node the program will start, and
// does nothing where Node obeys NODE_USE_ENV_PROXY by itself.
func nodeOptions(in environ, preload string) string {
	option := "--require " + preload
	if strings.ContainsAny(preload, " \"\\") {
		option = "--require " + strconv.Quote(preload) // Node unescapes \" and \\ inside quotes
	}
	if user := strings.TrimSpace(in.get("NODE_OPTIONS")); user != "" {
		return user + " " + option
	}
	return option
}

// noProxy keeps the user's exceptions, in either spelling, and adds loopback.
func noProxy(in environ, e *Env) []string {
	var hosts []string
	for _, list := range []string{in.get("NO_PROXY"), in.get("no_proxy"), strings.Join(alwaysDirect, ",")} {
		for _, h := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			if !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
	}
	if slices.Contains(hosts, "*") {
		e.Warnings = append(e.Warnings, "NO_PROXY is *: tools that obey it send everything past Writ, without credentials")
	}
	v := strings.Join(hosts, ",")
	return []string{"NO_PROXY=" + v, "no_proxy=" + v}
}

// environ is a list of "NAME=value".
type environ []string

// get is the value that a C program sees: of two entries the first.
func (v environ) get(name string) string {
	for _, kv := range v {
		if k, val, ok := strings.Cut(kv, "="); ok && k == name {
			return val
		}
	}
	return ""
}

// without copies the list minus Writ's own variables and, in any case, the
// names in set. A leftover duplicate could win: which of two a tool reads is
// its own affair, and some fold case.
func (v environ) without(set []string) []string {
	taken := make(map[string]bool, len(set))
	for _, kv := range set {
		name, _, _ := strings.Cut(kv, "=")
		taken[strings.ToUpper(name)] = true
	}
	var out []string
	for _, kv := range v {
		name, _, ok := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		if !ok || taken[upper] || strings.HasPrefix(upper, "WRIT_") {
			continue
		}
		out = append(out, kv)
	}
	return out
}
