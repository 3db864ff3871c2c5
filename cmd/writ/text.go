package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"writ.dev/writ"
)

// maxShown bounds one text in the output, in bytes. Names and purposes are far
// shorter; a path may not be.
const maxShown = 4096

// safe makes any text fit for one line of a terminal: names, tasks, paths and
// a server's words may come from whoever wanted them shown (T54).
func safe(s string) string { return writ.Printable(s, maxShown) }

// style is what a text means; the colour only repeats a word or sign that is
// there anyway.
type style uint8

const (
	plain style = iota
	good
	warn
	bad
	dim
	bold
)

var styles = map[style]lipgloss.Style{
	good: lipgloss.NewStyle().Foreground(lipgloss.Green),
	warn: lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	bad:  lipgloss.NewStyle().Foreground(lipgloss.Red),
	dim:  lipgloss.NewStyle().Faint(true),
	bold: lipgloss.NewStyle().Bold(true),
}

func (s style) render(text string) string {
	if st, ok := styles[s]; ok {
		return st.Render(text)
	}
	return text
}

// colours reports whether w may have colour: it is a terminal that knows them,
// and nobody said NO_COLOR (no-color.org: set and not empty).
func (c *cli) colours(w io.Writer) bool {
	return c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is the width of w in columns, 0 when it is no terminal.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// cell is one text with its meaning, and what a program reads instead where
// that differs from what people read.
type cell struct {
	text  string
	raw   string // for --csv; text if empty
	style style
}

func text(s string) cell { return cell{text: s} }

// orDash shows a missing value as missing.
func orDash(s string) cell {
	if s == "" {
		return cell{text: "—", raw: " ", style: dim}
	}
	return text(s)
}

// stateCell shows a state; live is whether it can act now, which an active row
// that has expired cannot.
func stateCell(s writ.State, live bool) cell {
	switch {
	case s == writ.Active && live:
		return cell{text: string(s), style: good}
	case s == writ.Active:
		return cell{text: "expired", style: warn}
	case s == writ.Suspended:
		return cell{text: string(s), style: warn}
	}
	return cell{text: string(s), style: dim}
}

// when is a time as people read it in a table: how far away it is.
func (c *cli) when(t writ.Time) cell {
	if t == 0 {
		return orDash("")
	}
	return cell{text: relative(t.Go().Sub(c.now())), raw: t.String()}
}

// moment is a time in full, with how far away it is.
func (c *cli) moment(t writ.Time) cell {
	if t == 0 {
		return orDash("")
	}
	local := t.Go().Local()
	return cell{text: local.Format("2006-01-02 15:04:05 -07:00") + " (" + relative(t.Go().Sub(c.now())) + ")", raw: t.String()}
}

// relative says how far away something is, in one unit, rounded.
func relative(d time.Duration) string {
	amount := short(d.Abs())
	switch {
	case amount == "0s":
		return "now"
	case d < 0:
		return amount + " ago"
	}
	return "in " + amount
}

func short(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d.Round(24*time.Hour)/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d.Round(time.Hour)/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d.Round(time.Minute)/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// millis is a duration that was measured.
func millis(ms int64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

// list is texts one after another.
func listed(items []string) string { return strings.Join(items, ", ") }

// encode is v as JSON that a terminal can show without harm: what Go leaves as
// it is inside strings but could move a cursor or reorder a line is written as
// an escape. To a program it is the same text.
func encode(v any, pretty bool) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, r := range b.String() {
		// A line end is the encoder's own: inside strings it writes \n.
		if r == '\n' || !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) {
			out.WriteRune(r)
			continue
		}
		if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		fmt.Fprintf(&out, `\u%04x`, r)
	}
	return []byte(out.String()), nil
}

// cleaned are the arguments of a format, each made safe to show.
func cleaned(args []any, colour bool) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case cell:
			out[i] = safe(a.text)
			if colour {
				out[i] = a.style.render(safe(a.text))
			}
		case error:
			out[i] = safe(a.Error())
		case fmt.Stringer:
			out[i] = safe(a.String())
		default:
			out[i] = a
			if v := reflect.ValueOf(a); v.Kind() == reflect.String {
				out[i] = safe(v.String())
			}
		}
	}
	return out
}
