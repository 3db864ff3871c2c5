package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// systemRootFiles are the places where Linux distributions and the BSDs keep
// their roots in one file, as crypto/x509 and OpenSSL builds look for them.
var systemRootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7 and newer
	"/etc/ssl/cert.pem",                                 // Alpine, macOS, BSD
}

// systemRootDirs are read where none of the files exists.
var systemRootDirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs", "/system/etc/security/cacerts"}

// maxTrustFile bounds one file of roots; the Mozilla set has 220 KB.
const maxTrustFile = 16 << 20

// trust collects certificates in the order in which they are added, each once.
//
// SSL_CERT_FILE and its kin replace a tool's roots, so whatever they point to
// must hold everything the tool trusted before, too (T45).
type trust struct {
	pem   bytes.Buffer
	ders  [][]byte
	known map[[sha256.Size]byte]bool
}

// addPEM takes the certificates out of data and returns how many there were.
// Everything else stays behind: a user's bundle may hold private keys, and
// this file is read by every tool of the run.
func (t *trust) addPEM(data []byte) int {
	if t.known == nil {
		t.known = make(map[[sha256.Size]byte]bool)
	}
	n := 0
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return n
		}
		if block.Type != "CERTIFICATE" || len(block.Bytes) == 0 {
			continue
		}
		n++
		sum := sha256.Sum256(block.Bytes)
		if t.known[sum] {
			continue
		}
		t.known[sum] = true
		t.ders = append(t.ders, block.Bytes)
		// Without the headers and comments: some readers stumble over them.
		_ = pem.Encode(&t.pem, &pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}) // a Buffer does not fail
	}
}

// addPath adds a file, or every file of a folder (REQUESTS_CA_BUNDLE and
// GIT_SSL_CAINFO may name one).
func (t *trust) addPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*")); err != nil {
			return err
		}
	}
	n := 0
	for _, f := range files {
		data, err := readRegular(f, maxTrustFile)
		if err != nil {
			if info.IsDir() {
				continue // a dangling link or a subfolder among many
			}
			return err
		}
		n += t.addPEM(data)
	}
	if n == 0 {
		return fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return nil
}

// addSystem adds the roots of this machine and reports whether there are any.
func (t *trust) addSystem() bool {
	for _, f := range systemRootFiles {
		if t.addPath(f) == nil {
			return true
		}
	}
	for _, d := range systemRootDirs {
		if t.addPath(d) == nil {
			return true
		}
	}
	return false
}

// userTrust names the files that the user's own settings trust: environment
// variables, and the settings files that a variable of ours would overrule.
func userTrust(in environ) []string {
	var paths []string
	add := func(p string) {
		p = strings.Trim(strings.TrimSpace(p), `"'`)
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			p = filepath.Join(in.get("HOME"), rest)
		}
		p = os.Expand(p, in.get) // npm expands ${VAR}
		if p == "" {
			return
		}
		for _, have := range paths {
			if have == p {
				return
			}
		}
		paths = append(paths, p)
	}
	for _, name := range bundleVariables {
		add(in.get(name))
	}
	for _, name := range extraVariables {
		add(in.get(name))
	}
	add(in.get("NPM_CONFIG_CAFILE"))

	home := in.get("HOME")
	for _, f := range []string{
		in.get("NPM_CONFIG_USERCONFIG"), in.get("npm_config_userconfig"), inHome(home, ".npmrc"),
		"/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc",
	} {
		for _, v := range settings(f, "cafile") {
			add(v)
		}
	}
	xdg := in.get("XDG_CONFIG_HOME")
	if xdg == "" {
		xdg = inHome(home, ".config")
	}
	for _, f := range []string{in.get("GIT_CONFIG_GLOBAL"), inHome(home, ".gitconfig"), inHome(xdg, "git/config"), "/etc/gitconfig"} {
		for _, v := range settings(f, "sslcainfo") {
			add(v)
		}
	}
	for _, f := range []string{userWgetrc(in), "/etc/wgetrc"} {
		for _, v := range settings(f, "cacertificate") {
			add(v)
		}
	}
	return paths
}

func inHome(home, name string) string {
	if home == "" {
		return ""
	}
	return filepath.Join(home, name)
}

// userWgetrc is the settings file that wget would read by itself.
func userWgetrc(in environ) string {
	if f := in.get("WGETRC"); f != "" {
		return f
	}
	return inHome(in.get("HOME"), ".wgetrc")
}

// settings reads the values of key from a file of "key = value" lines, in
// any section. Case, "-" and "_" in keys do not count (wget's own rule). A
// file that cannot be read has no settings.
func settings(file, key string) []string {
	if file == "" {
		return nil
	}
	data, err := readRegular(file, 1<<20)
	if err != nil {
		return nil
	}
	plain := strings.NewReplacer("-", "", "_", "")
	var values []string
	for line := range strings.Lines(string(data)) {
		k, v, ok := strings.Cut(line, "=")
		if ok && plain.Replace(strings.ToLower(strings.TrimSpace(k))) == key {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}
