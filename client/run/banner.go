package run

import (
	"fmt"
	"strings"
	"time"
)

// maxNamed is how many names a line of the banner lists before it counts.
const maxNamed = 8

// BannerFacts is what the banner says.
type BannerFacts struct {
	Actor     string    // "agent:claude-pay"
	Starter   string    // "ana@acme.dev"
	Task      string    // may be empty
	Ends      time.Time // of the session; shown in its location
	MayUse    []string  // "github (GET, POST acme/pay)"; empty when nothing is granted
	Isolation Isolation
	Secrets   []string // names of variables, from Env
	Warnings  []string // from Env
	Session   string   // "ses_7f2"
}

// Banner is what `writ run` prints before the program starts.
//
// Names, tasks and paths come from people and programs: control characters in
// them would move the cursor and rewrite what was said, so they are shown as
// "?".
func Banner(f BannerFacts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "writ  %s", plain(f.Actor))
	if f.Starter != "" {
		fmt.Fprintf(&b, "  for %s", plain(f.Starter))
	}
	if f.Task != "" {
		fmt.Fprintf(&b, "  task \"%s\"", plain(f.Task))
	}
	if f.Ends.IsZero() {
		b.WriteString("  ends on exit\n")
	} else {
		fmt.Fprintf(&b, "  ends %s or on exit\n", f.Ends.Format("15:04"))
	}
	line := func(label, text string) { fmt.Fprintf(&b, "      %s  %s\n", label, plain(text)) }
	if len(f.MayUse) > 0 {
		line("may use", list(f.MayUse, " · "))
	} else {
		line("may use", "nothing yet: no grant covers this session")
	}
	line("isolation", f.Isolation.String())
	if len(f.Secrets) > 0 {
		line("passed through", list(f.Secrets, ", ")+" (secrets by their names, from your environment: the program can read them)")
	}
	for _, w := range f.Warnings {
		line("note", w)
	}
	line("stop", "ctrl-c or writ kill "+f.Session)
	return b.String()
}

func list(names []string, sep string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, sep)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(names[:maxNamed], sep), sep, len(names)-maxNamed)
}

// plain shows text that somebody else chose: one line, no control characters,
// no marks that turn the direction of writing.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069, c == 0x200e, c == 0x200f, c == 0x2028, c == 0x2029:
			return '?'
		}
		return c
	}, clip(s))
}
