package ledger

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/canon"
)

// Everything here is spelled by hand rather than through encoding/json: a use
// costs two of these, and members sorted by name are easy to write in order.
// decode.go reads exactly these spellings and nothing else.

// maxRecordedText bounds what a record holds of one value that a client chose.
const maxRecordedText = 4096

func appendID(b []byte, id writ.ID) []byte { return canon.AppendString(b, string(id)) }

func appendStrings[S ~string](b []byte, list []S) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = canon.AppendString(b, string(s))
	}
	return append(b, ']')
}

// appendInt keeps within what every reader of JSON counts exactly.
func appendInt(b []byte, n int64) []byte {
	return strconv.AppendInt(b, max(-canon.MaxInteger, min(canon.MaxInteger, n)), 10)
}

// member appends the separator and name of an object's member: '{' or ','.
func member(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func optString(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return canon.AppendString(member(b, name), clip(s))
}

func optInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return appendInt(member(b, name), n)
}

// clip bounds a text that a client chose.
func clip(s string) string { return clipTo(s, maxRecordedText) }

// clipTo makes s UTF-8 first, since what replaces broken bytes is longer than
// they are, and cuts between characters.
func clipTo(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// appendVerdict is the core of an allow or a denial: what was decided, by ids
// and numbers alone. A denial has its reasons in addition.
func appendVerdict(b []byte, d *writ.Decision, asked writ.Time, records []decide.Record) []byte {
	b = append(b, `{"application":`...)
	b = appendID(b, d.Application)
	b = append(b, `,"basis":`...)
	b = canon.AppendString(b, string(d.Basis))
	b = append(b, `,"credential":`...)
	b = appendID(b, d.Credential)
	b = append(b, `,"decision":`...)
	b = appendID(b, d.ID)
	b = append(b, `,"epoch":{"incarnation":`...)
	b = appendInt(b, d.Epoch.Incarnation)
	b = append(b, `,"n":`...)
	b = appendInt(b, d.Epoch.N)
	b = append(b, `},"grant":`...)
	b = appendID(b, d.Grant)
	b = append(b, `,"guardrails":`...)
	b = appendStrings(b, d.Guardrails)
	b = append(b, `,"identity":`...)
	b = appendID(b, d.Identity)
	b = append(b, `,"path":`...)
	b = appendStrings(b, d.Path)
	b = append(b, `,"policy":`...)
	b = canon.AppendString(b, d.Policy)
	if !d.Allow {
		b = append(b, `,"reasons":`...)
		b = appendStrings(b, d.Reasons)
	}
	b = append(b, `,"records":[`...)
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = appendID(b, r.ID)
		b = append(b, ',')
		b = appendInt(b, r.Seq)
		b = append(b, ']')
	}
	b = append(b, `],"rests":`...)
	b = appendStrings(b, d.Rests)
	b = append(b, `,"rule":`...)
	b = appendInt(b, int64(d.Rule))
	b = append(b, `,"session":`...)
	b = appendID(b, d.Session)
	b = append(b, `,"time":`...)
	b = appendInt(b, int64(asked))
	b = append(b, `,"version":`...)
	b = appendID(b, d.Version)
	return append(b, '}')
}

// appendDetail is what was asked, in as much as a replay of the decision needs
// it. Values of query parameters are recorded only where shown says so: a URL
// can carry secrets (T54).
func appendDetail(b []byte, a *writ.Ask, d *writ.Decision, shown func(i int) bool) []byte {
	b = append(b, '{')
	if a.Info.Mode != "" && a.Info.Mode != writ.BodyNone {
		b = appendBody(member(b, "body"), a)
	}
	b = optString(b, "hint", a.Hint)
	b = canon.AppendString(member(b, "host"), clip(a.Host))
	b = canon.AppendString(member(b, "method"), clip(a.Method))
	if len(d.Missing) > 0 {
		b = appendStrings(member(b, "missing"), d.Missing)
	}
	b = canon.AppendString(member(b, "path"), pathOf(a.Target.Raw))
	if len(a.Target.Query) > 0 {
		b = append(member(b, "query"), '[')
		for i, p := range a.Target.Query {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = canon.AppendString(b, p.Name)
			b = append(b, ',')
			if shown(i) {
				b = canon.AppendString(b, p.Value)
			} else {
				b = append(b, "null"...)
			}
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	b = optString(b, "refused", string(a.Refused))
	b = optString(b, "refused_text", a.RefusedText)
	if a.Runtime != (writ.Runtime{}) {
		b = appendRuntime(member(b, "runtime"), &a.Runtime)
	}
	b = optString(b, "scheme", a.Scheme)
	if a.Source.IsValid() {
		b = canon.AppendString(member(b, "source"), a.Source.String())
	}
	b = optString(b, "text", d.Detail)
	return append(b, '}')
}

// shownValues gives the parameters whose values are recorded: those that rules
// mention, unless they are longer than any rule compares with.
func shownValues(a *writ.Ask, mentioned []string) func(i int) bool {
	return func(i int) bool {
		p := &a.Target.Query[i]
		return slices.Contains(mentioned, p.Name) && len(p.Value) <= maxRecordedText && utf8.ValidString(p.Value)
	}
}

// pathOf is a raw target without its query.
func pathOf(raw string) string {
	if i := strings.IndexByte(raw, '?'); i >= 0 {
		raw = raw[:i]
	}
	return clipTo(raw, writ.MaxTarget)
}

func appendBody(b []byte, a *writ.Ask) []byte {
	b = append(b, '{')
	b = optInt(b, "length", a.Info.Length)
	b = canon.AppendString(member(b, "mode"), string(a.Info.Mode))
	if a.Info.SHA256 != ([32]byte{}) {
		b = append(member(b, "sha256"), '"')
		b = base64.RawURLEncoding.AppendEncode(b, a.Info.SHA256[:])
		b = append(b, '"')
	}
	b = optString(b, "unreadable", a.Info.Unreadable)
	values := a.Info.Values
	if values == nil {
		values = a.Body
	}
	if values != nil {
		b = appendValues(member(b, "values"), values)
	}
	return append(b, '}')
}

// appendValues spells the scalars that rules looked at. A longer one becomes
// null: present, and equal to nothing a rule compares with.
func appendValues(b []byte, values writ.Values) []byte {
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, n := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(canon.AppendString(b, n), ':')
		v := values[n]
		switch {
		case len(v.Text) > maxRecordedText || !utf8.ValidString(v.Text):
			b = append(b, "null"...)
		case v.Kind == writ.ScalarString:
			b = canon.AppendString(b, v.Text)
		case v.Kind == writ.ScalarBool && (v.Text == "true" || v.Text == "false"):
			b = append(b, v.Text...)
		case v.Kind == writ.ScalarNumber && isSmallInteger(v.Text):
			b = append(b, v.Text...)
		case v.Kind == writ.ScalarNumber:
			b = append(canon.AppendString(append(b, `{"decimal":`...), v.Text), '}')
		default:
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// isSmallInteger reports whether the literal is spelled as records spell
// integers.
func isSmallInteger(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n <= canon.MaxInteger && n >= -canon.MaxInteger && strconv.FormatInt(n, 10) == s
}

func appendRuntime(b []byte, r *writ.Runtime) []byte {
	b = append(b, '{')
	b = optString(b, "directory", r.Directory)
	b = optString(b, "executable", r.Executable)
	b = optString(b, "git_commit", r.GitCommit)
	if r.GitDirty {
		b = append(member(b, "git_dirty"), "true"...)
	}
	b = optString(b, "git_remote", r.GitRemote)
	b = optString(b, "isolation", r.Isolation)
	b = optInt(b, "pid", int64(r.PID))
	b = optString(b, "program", r.Program)
	return append(b, '}')
}

// appendOutcome is one member of an outcomes entry.
func appendOutcome(b []byte, o *writ.Outcome) []byte {
	b = append(b, '{')
	b = optString(b, "error", o.Error)
	b = canon.AppendString(member(b, "kind"), string(o.Kind))
	b = optInt(b, "masked", int64(o.Masked))
	b = appendInt(member(b, "millis"), o.Millis)
	b = optInt(b, "received", o.Received)
	b = optInt(b, "sent", o.Sent)
	b = optInt(b, "status", int64(o.Status))
	b = appendID(member(b, "use"), o.Use)
	return append(b, '}')
}
