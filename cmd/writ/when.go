package main

import (
	"strconv"
	"time"

	"writ.dev/writ"
)

// units are what a duration can be written in, beside those of Go's durations
// that matter here.
var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}

// parseSpan reads a duration such as 90d, 2h, 30m or 1h30m.
func parseSpan(flag, s string) (time.Duration, error) {
	var total time.Duration
	rest := s
	for rest != "" {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits == len(rest) || digits > 6 {
			return 0, notSpan(flag, s)
		}
		n, err := strconv.Atoi(rest[:digits])
		unit, ok := units[rest[digits]]
		if err != nil || !ok {
			return 0, notSpan(flag, s)
		}
		total += time.Duration(n) * unit
		rest = rest[digits+1:]
	}
	if total <= 0 || total > 100*366*24*time.Hour {
		return 0, notSpan(flag, s)
	}
	return total, nil
}

func notSpan(flag, s string) error {
	return writ.Invalid(flag, "not a length of time: "+writ.Printable(s, 40), "write it as 30m, 2h, 90d or 1h30m")
}

// parseUntil reads when something ends: a duration from now, a date, or RFC
// 3339. A date ends at its end, UTC.
func (c *cli) parseUntil(flag, s string) (writ.Time, error) {
	return c.parseTime(flag, s, func(d time.Duration) time.Time { return c.now().Add(d) }, 24*time.Hour)
}

// parseSince reads a time in the past: a duration before now, a date, or RFC
// 3339. A date begins at its beginning, UTC.
func (c *cli) parseSince(flag, s string) (writ.Time, error) {
	return c.parseTime(flag, s, func(d time.Duration) time.Time { return c.now().Add(-d) }, 0)
}

func (c *cli) parseTime(flag, s string, span func(time.Duration) time.Time, ofDate time.Duration) (writ.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return writ.At(t.Add(ofDate)), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return writ.At(t), nil
	}
	d, err := parseSpan(flag, s)
	if err != nil {
		return 0, writ.Invalid(flag, "not a time: "+writ.Printable(s, 40), "write it as 90d or 2h, as a date such as 2027-01-31, or as 2027-01-31T18:00:00Z")
	}
	return writ.At(span(d)), nil
}

// untilFlag is a flag that says when something ends. It is parsed when the
// command runs, since "90d" depends on when that is.
type untilFlag struct {
	text string
	set  bool
}

func (f *untilFlag) String() string { return f.text }

// Set takes the text as it is.
func (f *untilFlag) Set(s string) error {
	f.text, f.set = s, true
	return nil
}

// Type is what help calls the value.
func (f *untilFlag) Type() string { return "time" }

// time is when it ends, 0 when the flag was not given or says "none".
func (f *untilFlag) time(c *cli, flag string) (writ.Time, error) {
	if f.text == "" || f.text == "none" {
		return 0, nil
	}
	return c.parseUntil(flag, f.text)
}

// edit is the change that the flag asks for, nil for none.
func (f *untilFlag) edit(c *cli, flag string) (*writ.Time, error) {
	if !f.set {
		return nil, nil
	}
	t, err := f.time(c, flag)
	return &t, err
}
