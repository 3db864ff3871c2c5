package main

import (
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"
)

// page collects what people read. Everything that is put on it is made safe
// first, so no caller has to think of it.
type page struct {
	b      strings.Builder
	colour bool
	width  int // of the terminal; 0 is unbounded
}

func (c *cli) newPage(w io.Writer) *page {
	return &page{colour: c.colours(w), width: terminalWidth(w)}
}

// line adds one line. format is ours; args may be anybody's, and may be cells.
func (p *page) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(fmt.Sprintf(format, cleaned(args, p.colour)...), " ") + "\n")
}

// blank adds an empty line.
func (p *page) blank() { p.b.WriteByte('\n') }

// field is one line of a record.
type field struct {
	name  string
	value cell
}

// fields adds a record: names on the left, values aligned.
func (p *page) fields(fs []field) {
	wide := 0
	for _, f := range fs {
		wide = max(wide, len(f.name))
	}
	for _, f := range fs {
		p.line("%s  %s", cell{text: f.name + strings.Repeat(" ", wide-len(f.name)), style: dim}, f.value)
	}
}

// table adds rows under a head, aligned, two spaces between. The last column
// is cut where the terminal ends; none is cut in a pipe.
func (p *page) table(head []string, rows [][]cell) {
	wide := make([]int, len(head))
	for i, h := range head {
		wide[i] = len(h)
		for _, r := range rows {
			wide[i] = max(wide[i], lipgloss.Width(safe(r[i].text)))
		}
	}
	titles := make([]cell, len(head))
	for i, h := range head {
		titles[i] = cell{text: strings.ToUpper(h), style: bold}
	}
	for _, r := range append([][]cell{titles}, rows...) {
		p.row(r, wide)
	}
}

func (p *page) row(cells []cell, wide []int) {
	var b strings.Builder
	at := 0
	for i, c := range cells {
		text := safe(c.text)
		last := i == len(cells)-1
		if last && p.width > 0 {
			text = cut(text, p.width-at)
		}
		pad := wide[i] - lipgloss.Width(text) + 2
		if p.colour {
			b.WriteString(c.style.render(text))
		} else {
			b.WriteString(text)
		}
		if !last {
			b.WriteString(strings.Repeat(" ", pad))
		}
		at += wide[i] + 2
	}
	p.b.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

// cut shortens text to a width, at least so much that something can be read.
func cut(text string, width int) string {
	width = max(width, 12)
	if lipgloss.Width(text) <= width {
		return text
	}
	var b strings.Builder
	at := 0
	for _, r := range text {
		w := lipgloss.Width(string(r))
		if at+w > width-1 {
			break
		}
		b.WriteRune(r)
		at += w
	}
	return b.String() + "…"
}
