package run

import (
	"slices"
	"strings"

	"writ.dev/writ"
)

// Placeholder is what stands where an SDK insists on a key. It opens nothing;
// the broker replaces it.
const Placeholder = "writ-placeholder"

// sdkKeys are the variables without which an SDK refuses to start, the hosts
// it talks to, and the variables that show that the user has signed in by
// some other way, which a placeholder would get in the way of.
var sdkKeys = []struct {
	host  string // a name, or ".suffix"
	set   []string
	other []string
}{
	{"api.anthropic.com", []string{"ANTHROPIC_API_KEY"}, []string{"ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"}},
	{"api.openai.com", []string{"OPENAI_API_KEY"}, nil},
	{
		".amazonaws.com",
		[]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		[]string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"},
	},
}

// placeholders are set only for hosts that the run has a credential for, and
// only where the user has set nothing: a placeholder elsewhere would break a
// tool that has signed in by itself.
func placeholders(in environ, hosts []string) []string {
	var set []string
	for _, k := range sdkKeys {
		meant := slices.ContainsFunc(hosts, func(h string) bool {
			name := strings.ToLower(h)
			if i := strings.LastIndexByte(name, ':'); i >= 0 {
				name = name[:i]
			}
			return name == k.host || k.host[0] == '.' && strings.HasSuffix(name, k.host)
		})
		has := func(name string) bool { return in.get(name) != "" }
		if !meant || slices.ContainsFunc(k.set, has) || slices.ContainsFunc(k.other, has) {
			continue
		}
		for _, name := range k.set {
			set = append(set, name+"="+Placeholder)
		}
	}
	return set
}

// secretEndings are how the names of variables with a secret end, in the
// documentation of the services that read them.
var secretEndings = []string{
	"_API_KEY", "_APIKEY", "_TOKEN", "_SECRET", "_SECRET_KEY", "_ACCESS_KEY", "_PRIVATE_KEY",
	"_PASSWORD", "_PASSWD", "_PASSPHRASE", "_PAT", "_AUTH", "_CREDENTIALS", "_CLIENT_SECRET",
}

// secretNames lists, by their names alone, the variables that look like
// secrets. A guess that shows too much costs a line in the banner; the values
// are not looked at, except that an empty one is none.
func secretNames(env []string) []string {
	var names []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		named := slices.ContainsFunc(secretEndings, func(end string) bool {
			return strings.HasSuffix(upper, end) || upper == end[1:]
		})
		if named && value != "" && value != Placeholder {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unavailable is an error about this machine, with the private cause.
func unavailable(message string, cause error) *writ.Error {
	return writ.Errorf(writ.KindUnavailable, "%s", message).WithCause(cause)
}
