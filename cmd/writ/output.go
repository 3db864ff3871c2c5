package main

import (
	"context"
	"encoding/csv"
	"io"
	"slices"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// show writes a result: v for --json, what human puts on the page otherwise.
func (c *cli) show(v any, human func(*page)) error {
	if c.flags.json {
		return c.writeJSON(v, true)
	}
	p := c.newPage(c.stdout)
	human(p)
	_, err := io.WriteString(c.stdout, p.b.String())
	return err
}

func (c *cli) writeJSON(v any, pretty bool) error {
	b, err := encode(v, pretty)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(b)
	return err
}

// say writes one line of talk to stderr.
func (c *cli) say(format string, args ...any) {
	p := c.newPage(c.stderr)
	p.line(format, args...)
	_, _ = io.WriteString(c.stderr, p.b.String()) // talk: nothing depends on it
}

// column is one column of a list.
type column[T any] struct {
	name  string
	value func(T) cell
	extra bool // only when --columns asks for it
}

// listing is a list that a command shows.
type listing[T any] struct {
	page    func(ctx context.Context, p client.Paging) (*client.Page[T], error)
	columns []column[T]
	empty   string // one sentence and the command that changes it
}

// listResult is what a list prints as JSON.
type listResult[T any] struct {
	Items []T    `json:"items" doc:"the things listed"`
	Next  string `json:"next,omitempty" doc:"where the list goes on: give it to --cursor"`
}

// maxPage is how many items one call may ask for.
const maxPage = 500

// list asks for as many items as --limit says and shows them.
func list[T any](ctx context.Context, c *cli, l listing[T]) error {
	columns, err := chosen(c, l.columns)
	if err != nil {
		return err
	}
	if c.flags.limit < 0 {
		return writ.Invalid("--limit", "a limit cannot be negative", "use --limit 0 for all")
	}
	result := listResult[T]{Items: []T{}, Next: c.flags.cursor}
	for {
		ask := client.Paging{Cursor: result.Next, Limit: maxPage}
		if c.flags.limit > 0 {
			ask.Limit = min(maxPage, c.flags.limit-len(result.Items))
		}
		p, err := l.page(ctx, ask)
		if err != nil {
			return err
		}
		result.Items = append(result.Items, p.Items...)
		result.Next = p.Next
		if p.Next == "" || c.flags.limit > 0 && len(result.Items) >= c.flags.limit {
			break
		}
	}
	if err := showList(c, result, columns, l.empty); err != nil {
		return err
	}
	if result.Next != "" && !c.flags.json {
		c.say("there are more: --limit 0 shows all, --cursor %s goes on here", result.Next)
	}
	return nil
}

func showList[T any](c *cli, result listResult[T], columns []column[T], empty string) error {
	switch {
	case c.flags.jsonl:
		for _, item := range result.Items {
			if err := c.writeJSON(item, false); err != nil {
				return err
			}
		}
		return nil
	case c.flags.csv:
		return writeCSV(c.stdout, result.Items, columns)
	case !c.flags.json && len(result.Items) == 0:
		c.say("%s", empty)
		return nil
	}
	return c.show(result, func(p *page) {
		head, rows := cells(result.Items, columns)
		p.table(head, rows)
	})
}

func cells[T any](items []T, columns []column[T]) (head []string, rows [][]cell) {
	for _, col := range columns {
		head = append(head, col.name)
	}
	for _, item := range items {
		row := make([]cell, len(columns))
		for i, col := range columns {
			row[i] = col.value(item)
		}
		rows = append(rows, row)
	}
	return head, rows
}

// chosen are the columns that --columns names, or those that are shown without it.
func chosen[T any](c *cli, all []column[T]) ([]column[T], error) {
	if len(c.flags.columns) == 0 {
		return slices.DeleteFunc(slices.Clone(all), func(col column[T]) bool { return col.extra }), nil
	}
	var out []column[T]
	for _, name := range c.flags.columns {
		i := slices.IndexFunc(all, func(col column[T]) bool { return col.name == strings.ToLower(strings.TrimSpace(name)) })
		if i < 0 {
			names := make([]string, len(all))
			for i, col := range all {
				names[i] = col.name
			}
			return nil, writ.Invalid("--columns", "there is no column "+writ.Printable(name, 40), "choose from: "+strings.Join(names, ","))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// writeCSV writes RFC 4180 with a head, times in RFC 3339.
func writeCSV[T any](w io.Writer, items []T, columns []column[T]) error {
	out := csv.NewWriter(w)
	head, rows := cells(items, columns)
	records := [][]string{head}
	for _, r := range rows {
		record := make([]string, len(r))
		for i, c := range r {
			record[i] = spreadsheet(c)
		}
		records = append(records, record)
	}
	return out.WriteAll(records)
}

// spreadsheet is a cell's value for CSV. A text that a spreadsheet would run
// as a formula gets an apostrophe in front: purposes and tasks are written by
// whoever asks.
func spreadsheet(c cell) string {
	s := c.raw
	if s == "" {
		s = c.text
	}
	s = strings.TrimSpace(safe(s))
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}
