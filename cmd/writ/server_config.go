package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"writ.dev/writ"
)

// serverConfig is the one struct of `writ server --config FILE`. Every field
// has a usable zero value except where its comment says that it must be set.
// Environment variables WRIT_* named at the fields override the file.
type serverConfig struct {
	// Data is the folder for the database and the server's state. Must be set.
	Data string `yaml:"data"`
	// Database is "sqlite" (default) or a postgres:// URL. WRIT_DATABASE.
	Database string `yaml:"database"`

	API   listenConfig `yaml:"api"`
	Proxy listenConfig `yaml:"proxy"`
	Key   keyConfig    `yaml:"key"`
	Log   logConfig    `yaml:"log"`

	dev    bool   // set by --dev, never from a file
	person string // the first person's name on an empty database
}

type listenConfig struct {
	// Listen is host:port; 127.0.0.1:8440 for the API and 127.0.0.1:8441 for the
	// proxy by default. WRIT_API_LISTEN, WRIT_PROXY_LISTEN.
	Listen string `yaml:"listen"`
	// Cert and Key are PEM files; needed on anything but loopback.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// keyConfig says where the key comes from that wraps all others. One of them
// must be set.
type keyConfig struct {
	// File holds 32 random bytes, 0600, outside the data folder; it is made when
	// the database is new. WRIT_KEY_FILE.
	File string `yaml:"file"`
	// PassphraseFile holds a passphrase. WRIT_PASSPHRASE_FILE.
	PassphraseFile string `yaml:"passphrase_file"`
}

type logConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn, error
	Format string `yaml:"format"` // text (default) or json
}

// loadConfig reads and checks a configuration file. Errors name the line and
// the fix.
func loadConfig(path string) (*serverConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, writ.Errorf(writ.KindInvalid, "the configuration %s cannot be read", path).WithFix("check the path and who may read it").WithCause(err)
	}
	c := &serverConfig{}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, configError(path, err)
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, writ.Invalid("config", path+": there is more than one YAML document", "keep one")
	}
	for name, field := range map[string]*string{
		"WRIT_DATABASE": &c.Database, "WRIT_API_LISTEN": &c.API.Listen, "WRIT_PROXY_LISTEN": &c.Proxy.Listen,
		"WRIT_KEY_FILE": &c.Key.File, "WRIT_PASSPHRASE_FILE": &c.Key.PassphraseFile,
	} {
		if v, ok := os.LookupEnv(name); ok {
			*field = v
		}
	}
	return c, c.check(path)
}

var unknownField = regexp.MustCompile(`line (\d+): field (\S+) not found`)

func configError(path string, err error) error {
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return writ.Invalid("config", fmt.Sprintf("%s:%s: there is no setting %q", path, m[1], writ.Printable(m[2], 40)),
			"the settings are data, database, api.{listen,cert,key}, proxy.{listen,cert,key}, key.{file,passphrase_file}, log.{level,format}")
	}
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: ")
	return writ.Invalid("config", path+": "+writ.Printable(text, 200), "correct the line; writ help server shows an example")
}

// check validates and fills in defaults.
func (c *serverConfig) check(path string) error {
	if c.Database == "" {
		c.Database = "sqlite"
	}
	if c.API.Listen == "" {
		c.API.Listen = "127.0.0.1:8440"
	}
	if c.Proxy.Listen == "" {
		c.Proxy.Listen = "127.0.0.1:8441"
	}
	switch {
	case c.Data == "":
		return writ.Invalid("data", path+": data is missing", "name the folder for Writ's state, as in data: /var/lib/writ")
	case c.Database != "sqlite" && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://"):
		return writ.Invalid("database", path+": database is neither sqlite nor a postgres:// URL", "write database: sqlite, or database: postgres://writ@db/writ")
	case c.Key.File == "" && c.Key.PassphraseFile == "":
		return writ.Invalid("key", path+": no key provider is named", "write key: {file: /etc/writ/key}, a path outside the data folder")
	case c.Key.File != "" && c.Key.PassphraseFile != "":
		return writ.Invalid("key", path+": two key providers are named", "keep key.file or key.passphrase_file")
	case c.Key.File != "" && within(c.Key.File, c.Data):
		return writ.Invalid("key.file", path+": the key file lies in the data folder, so whoever copies the data has the key", "put it elsewhere, as in /etc/writ/key")
	}
	for name, l := range map[string]listenConfig{"api": c.API, "proxy": c.Proxy} {
		if err := l.check(path, name); err != nil {
			return err
		}
	}
	switch c.Log.Level {
	case "", "debug", "info", "warn", "error":
	default:
		return writ.Invalid("log.level", path+": unknown log level "+writ.Printable(c.Log.Level, 20), "use debug, info, warn or error")
	}
	switch c.Log.Format {
	case "", "text", "json":
	default:
		return writ.Invalid("log.format", path+": unknown log format "+writ.Printable(c.Log.Format, 20), "use text or json")
	}
	return nil
}

func (l listenConfig) check(path, name string) error {
	if (l.Cert == "") != (l.Key == "") {
		return writ.Invalid(name, path+": "+name+" has a certificate without a key, or the reverse", "name both "+name+".cert and "+name+".key")
	}
	if l.Cert == "" && !isLoopback(l.Listen) {
		return writ.Invalid(name+".listen", path+": "+name+" listens beyond loopback without TLS", "name "+name+".cert and "+name+".key, or listen on 127.0.0.1")
	}
	return nil
}

// isLoopback reports whether a listen address is a loopback address, spelled
// as one: a name could resolve to anything.
func isLoopback(listen string) bool {
	a, err := netip.ParseAddrPort(strings.Replace(listen, "localhost:", "127.0.0.1:", 1))
	return err == nil && a.Addr().IsLoopback()
}

func within(file, folder string) bool {
	f, err := filepath.Abs(file)
	if err != nil {
		return true
	}
	d, err := filepath.Abs(folder)
	if err != nil {
		return true
	}
	rel, err := filepath.Rel(d, f)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
