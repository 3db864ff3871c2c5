package run

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"writ.dev/writ"
)

// RuntimeHeader carries the Runtime of a connection to the server.
const RuntimeHeader = "Writ-Context"

const (
	maxRuntimeField  = 1024
	maxRuntimeHeader = 32 << 10 // JSON writes some bytes as six
)

// Runtime is what is known about the process that made a connection. It is
// said by the user's machine about itself: context for a trace, not proof. A
// fact that could not be had is empty.
//
// Arguments are not part of it beyond the program's name: they hold secrets
// often enough.
type Runtime struct {
	PID       int    `json:"pid,omitempty"`        // 0: a process of the run that hides which one it is
	Exe       string `json:"exe,omitempty"`        // the program's file
	ExeSHA256 string `json:"exe_sha256,omitempty"` // of that file, hex
	Cwd       string `json:"cwd,omitempty"`
	Argv0     string `json:"argv0,omitempty"`      // the name it was started under, without folders
	GitRemote string `json:"git_remote,omitempty"` // of the repository around Cwd, without user and password
	GitCommit string `json:"git_commit,omitempty"` // HEAD, hex
	GitDirty  *bool  `json:"git_dirty,omitempty"`  // tracked files differ from HEAD; nil when not known
	TTY       string `json:"tty,omitempty"`
}

// Header is the value of RuntimeHeader: base64url of JSON.
func (r Runtime) Header() (string, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("runtime context: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// ParseRuntime reads the value of RuntimeHeader on the server's side. What it
// returns is clean enough to be recorded and shown: bounded, valid UTF-8,
// without control characters.
func ParseRuntime(value string) (Runtime, error) {
	bad := func(what string) (Runtime, error) {
		return Runtime{}, writ.Invalid(RuntimeHeader, "the runtime context "+what, "")
	}
	if len(value) > maxRuntimeHeader {
		return bad("is too long")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return bad("is not base64url")
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	var r Runtime
	if err := d.Decode(&r); err != nil || d.InputOffset() != int64(len(raw)) {
		return bad("is not one JSON object with known members")
	}
	if r.PID < 0 || r.PID > math.MaxInt32 {
		return bad("has a pid that no system gives")
	}
	for _, s := range []string{r.Exe, r.ExeSHA256, r.Cwd, r.Argv0, r.GitRemote, r.GitCommit, r.TTY} {
		if s != clip(s) {
			return bad("holds a member that is too long or not plain text")
		}
	}
	return r, nil
}

// clip makes a value fit to be sent: valid UTF-8 without control characters,
// bounded. The name of a folder may be any bytes.
func clip(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
	if len(s) <= maxRuntimeField {
		return s
	}
	s = s[:maxRuntimeField]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
