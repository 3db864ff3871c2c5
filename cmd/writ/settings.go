package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// setting is a value and where it came from, as `writ status` tells it.
type setting struct {
	Value string `json:"value,omitempty"`
	From  string `json:"from,omitempty" doc:"flag, variable or file; empty where nothing says"`
}

// settings are what a command needs to know beside its own flags: which
// server, as whom, and what the project says. Nearest wins: flag, environment,
// .writ.toml, the development server's own file.
type settings struct {
	server  setting
	ca      setting
	token   secretText
	tokenAt string   // where the token came from
	dev     *devFile // nil when no development server left one
	project project
}

// String names the server and no token: a format reaches a field's own String
// only where the field is exported.
func (s settings) String() string { return "settings for " + s.server.Value }

// GoString is String.
func (s settings) GoString() string { return s.String() }

// secretText is a text that no format shows.
type secretText string

// String shows nothing of it.
func (secretText) String() string { return "(not shown)" }

// GoString shows nothing of it.
func (secretText) GoString() string { return "(not shown)" }

const (
	defaultServer = "http://localhost:8440"
	// maxSettingsFile bounds a file of settings or a token.
	maxSettingsFile = 64 << 10
)

// devFile is what `writ server --dev` writes for this program to find.
type devFile struct {
	Addr          string `json:"addr"`
	Proxy         string `json:"proxy"`
	TokenFile     string `json:"token_file"`
	CAFingerprint string `json:"ca_fingerprint"`
	PID           int    `json:"pid"`

	path string
}

// settings finds out what is in force. It calls no server.
func (c *cli) settings() (*settings, error) {
	s := &settings{}
	var err error
	if s.project, err = c.findProject(); err != nil {
		return nil, err
	}
	if s.dev, err = c.readDevFile(); err != nil {
		return nil, err
	}
	switch {
	case c.flags.server != "":
		s.server = setting{c.flags.server, "--server"}
	case c.getenv("WRIT_ADDR") != "":
		s.server = setting{c.getenv("WRIT_ADDR"), "WRIT_ADDR"}
	case s.project.server != "":
		s.server = setting{s.project.server, s.project.path}
	case s.dev != nil:
		s.server = setting{s.dev.Addr, s.dev.path}
	default:
		s.server = setting{defaultServer, "default"}
	}
	switch {
	case c.flags.ca != "":
		s.ca = setting{c.flags.ca, "--ca"}
	case c.getenv("WRIT_CA") != "":
		s.ca = setting{c.getenv("WRIT_CA"), "WRIT_CA"}
	}
	return s, c.findToken(s)
}

// findToken takes the token from where it was said, and binds it to the server
// that it is for: the development token goes to the development server alone,
// and a server that only .writ.toml names gets no token that was meant for
// another one. That file comes with a repository; whoever writes it could
// otherwise collect the tokens of everybody who looks at it.
func (c *cli) findToken(s *settings) error {
	dev := s.dev != nil && sameServer(s.server.Value, s.dev.Addr)
	switch {
	case c.flags.tokenFile != "":
		token, err := readToken(c.flags.tokenFile)
		if err != nil {
			return err
		}
		s.token, s.tokenAt = token, "--token-file"
	case c.getenv("WRIT_TOKEN") != "":
		s.token, s.tokenAt = secretText(strings.TrimSpace(c.getenv("WRIT_TOKEN"))), "WRIT_TOKEN"
	case dev && s.dev.TokenFile != "":
		file := s.dev.TokenFile
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(s.dev.path), file)
		}
		token, err := readToken(file)
		if err != nil {
			return err
		}
		s.token, s.tokenAt = token, file
		return nil
	}
	if s.token != "" && s.server.From == s.project.path && s.project.path != "" && !dev {
		return writ.Invalid("server", "the token of "+s.tokenAt+" is not sent to "+safe(s.server.Value)+", which only "+safe(s.project.path)+" names",
			"if you trust that server: export WRIT_ADDR="+shellQuote(safe(s.server.Value))).
			WithWhy("that file came with the project, and whoever wrote it would get the token")
	}
	return nil
}

// sameServer reports whether two addresses name one server.
func sameServer(a, b string) bool {
	return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}

// client is the client for the server in force. Every command calls the server
// through it.
func (c *cli) client() (*client.Client, error) {
	if c.api != nil {
		return c.api, nil
	}
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	c.api, err = s.client()
	return c.api, err
}

func (s *settings) client() (*client.Client, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Address: s.server.Value, Token: string(s.token), Roots: roots, UserAgent: "writ/" + version})
}

// roots are the certificates that a private server's must lead to, nil for the
// system's.
func (s *settings) roots() (*x509.CertPool, error) {
	if s.ca.Value == "" {
		return nil, nil
	}
	pem, err := readFile(s.ca.Value, 1<<20)
	if err != nil {
		return nil, fileError("ca", s.ca.Value, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, writ.Invalid("ca", "there is no certificate in "+safe(s.ca.Value), "give a file of certificates in PEM form with "+s.ca.From)
	}
	return pool, nil
}

// readDevFile reads ~/.writ/dev.json. Who may write it may say where the
// development token goes, so one that others may write is refused.
func (c *cli) readDevFile() (*devFile, error) {
	home := c.getenv("HOME")
	if home == "" {
		return nil, nil
	}
	path := filepath.Join(home, ".writ", "dev.json")
	f, err := openPrivate(path, 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettingsFile))
	d := &devFile{path: path}
	if err != nil || json.Unmarshal(b, d) != nil || d.Addr == "" {
		return nil, writ.Invalid("dev.json", path+" is not what a development server writes", "remove it and start the server again: writ server --dev").WithCause(err)
	}
	return d, nil
}

// readToken reads a token from a file that nobody else may read.
func readToken(path string) (secretText, error) {
	f, err := openPrivate(path, 0o077)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettingsFile))
	if err != nil {
		return "", fileError("token", path, err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", writ.Invalid("token", "there is no token in "+safe(path), "put the text of an API key into it, or say another file with --token-file")
	}
	return secretText(token), nil
}

// openPrivate opens a file whose mode has none of the forbidden bits and that
// belongs to this user or root. The question is asked of the open file, so
// that nobody can put another in its place in between.
func openPrivate(path string, forbidden fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError("token", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fileError("token", path, err)
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, writ.Invalid("token", safe(path)+" is not a file", "give a regular file")
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		f.Close()
		return nil, writ.Errorf(writ.KindInvalid, "the file %s is open to others", safe(path)).
			WithWhy("its mode is %04o, and who can use it can act as you", mode).
			WithFix("chmod 600 %s; if it was open for long, make a new key and revoke this one", shellQuote(safe(path)))
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Getuid() {
		f.Close()
		return nil, writ.Errorf(writ.KindInvalid, "the file %s belongs to another user", safe(path)).
			WithWhy("its owner could change it at any time").WithFix("make a copy of your own with mode 0600")
	}
	return f, nil
}

// readFile reads a file up to a limit.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, errTooLarge
	}
	return b, err
}

var errTooLarge = errors.New("the file is too large")

// fileError is the error about a file that cannot be used, told without the
// operating system's words, which may repeat more than the name.
func fileError(field, path string, err error) error {
	why, fix := "the operating system gives no access to it", "check the file and its folder"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why, fix = "there is no such file", "check the name"
	case errors.Is(err, fs.ErrPermission):
		why, fix = "this user may not open it", "check its owner and mode with: ls -l "+shellQuote(safe(path))
	case errors.Is(err, fs.ErrExist):
		why, fix = "it exists already", "choose another name, or move it away"
	case errors.Is(err, errTooLarge):
		why, fix = "it is larger than such a file can be", "check that it is the right file"
	case errors.Is(err, unix.EISDIR):
		why, fix = "it is a folder", "give a file"
	case errors.Is(err, unix.ENOSPC):
		why, fix = "the disk is full", "make room and try again"
	case errors.Is(err, unix.EROFS):
		why, fix = "the file system is read-only", "choose a folder that can be written"
	}
	return writ.Invalid(field, "the file "+safe(path)+" cannot be used", fix).WithWhy("%s", why).WithCause(err)
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@=,+%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
