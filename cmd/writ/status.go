package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// statusResult is what writ status prints as JSON.
type statusResult struct {
	Server  setting        `json:"server" doc:"the address in force, and where it was said"`
	Token   setting        `json:"token" doc:"where the token comes from; never the token"`
	CA      setting        `json:"ca,omitzero" doc:"certificates for a private server"`
	Project *projectResult `json:"project,omitempty"`
	Answers bool           `json:"answers" doc:"whether the server answered"`
	Millis  int64          `json:"millis,omitempty" doc:"how long it took"`
	Status  *client.Status `json:"status,omitempty"`
	You     *client.Whoami `json:"you,omitempty"`
	Problem string         `json:"problem,omitempty" doc:"what is wrong, in one sentence"`
	Version string         `json:"version" doc:"of this program"`
}

type projectResult struct {
	File    string `json:"file"`
	Project string `json:"project,omitempty"`
	Agent   string `json:"agent,omitempty"`
	Task    string `json:"task,omitempty"`
	For     string `json:"for,omitempty"`
}

func (c *cli) statusCommand() *cobra.Command {
	return c.command(spec{
		use: "status", short: "Say which server, as whom, where each value came from, and whether it works",
		long:    "Exit code 2 when the server does not answer.",
		example: "writ status\nwrit status --json",
		out:     statusResult{},
		run: func(ctx context.Context, _ []string) error {
			s, err := c.settings()
			if err != nil {
				return err
			}
			r := s.result()
			failure := c.ask(ctx, r)
			if failure != nil {
				r.Problem = safe(failure.Error())
			}
			if err := c.show(r, func(p *page) { c.statusPage(p, r) }); err != nil {
				return err
			}
			return failure
		},
	})
}

func (s *settings) result() *statusResult {
	r := &statusResult{Server: s.server, CA: s.ca, Version: version}
	if s.token != "" {
		r.Token = setting{Value: "(set)", From: s.tokenAt}
	}
	if p := s.project; p.path != "" {
		r.Project = &projectResult{File: p.path, Project: p.name, Agent: p.agent, Task: p.task, For: p.length}
	}
	return r
}

// ask asks the server, and gives the error that the command ends with. A
// server that answers without knowing us is still a server that answers.
func (c *cli) ask(ctx context.Context, r *statusResult) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	begin := time.Now()
	st, err := api.Status(ctx)
	if err == nil {
		r.Answers, r.Status, r.Millis = true, st, time.Since(begin).Milliseconds()
		r.You, err = api.Whoami(ctx)
		return err
	}
	var known *writ.Error
	if errors.As(err, &known) && known.Kind != writ.KindUnavailable {
		r.Answers = true
	}
	return err
}

func (c *cli) statusPage(p *page, r *statusResult) {
	from := func(f string) cell { return cell{text: f, style: dim} }
	switch {
	case r.Status != nil:
		note := cell{text: ""}
		if r.Status.Mode == "dev" {
			note = cell{text: "DEV: data on this machine, loopback only", style: warn}
		}
		p.line("server   %s  %s  %s  %s", r.Server.Value, cell{text: "ok " + millis(r.Millis), style: good}, note, from(r.Server.From))
	case r.Answers:
		p.line("server   %s  %s  %s", r.Server.Value, cell{text: "answers, but refuses", style: warn}, from(r.Server.From))
	default:
		p.line("server   %s  %s  %s", r.Server.Value, cell{text: "does not answer", style: bad}, from(r.Server.From))
	}
	c.statusYou(p, r, from)
	if r.Project != nil {
		p.line("project  %s  %s", or(r.Project.Project, or(r.Project.Agent, "—")), from(r.Project.File))
	}
	if st := r.Status; st != nil {
		c.statusServer(p, st)
	}
}

func (c *cli) statusYou(p *page, r *statusResult, from func(string) cell) {
	switch you := r.You; {
	case you != nil:
		what := string(you.Role)
		if you.Session != nil {
			what = "session " + string(you.Session.ID)
		}
		ends := "ends " + c.when(you.Expires).text
		if you.Local {
			ends += " (development token: administers, never approves)"
		}
		p.line("you      %s  %s  of %s  %s  %s", you.Identity.Label, what, you.OrgName, ends, from(r.Token.From))
	case r.Token.From == "":
		p.line("you      %s", cell{text: "nobody: no token in WRIT_TOKEN, --token-file or a development server's folder", style: warn})
	default:
		p.line("you      %s  %s", cell{text: "not known to the server", style: bad}, from(r.Token.From))
	}
}

func (c *cli) statusServer(p *page, st *client.Status) {
	p.line("relay    proxy %s · CA %s", st.Proxy, or(st.CA.Fingerprint, "—"))
	checkpoint := "none yet"
	if st.Ledger.CheckpointTime != 0 {
		checkpoint = c.when(st.Ledger.CheckpointTime).text
	}
	p.line("ledger   %s entries · last checkpoint %s at %s · %s", thousands(st.Ledger.Size), checkpoint, thousands(st.Ledger.Checkpoint), st.Database)
	if st.Stopped {
		p.line("%s", cell{text: "STOPPED  everything in the organization is stopped: writ resume all --reason TEXT", style: bad})
	}
	if st.Stale {
		p.line("%s", cell{text: "STALE    the server cannot prove its view fresh and denies: writ help authority_stale", style: bad})
	}
	for _, w := range st.Warnings {
		p.line("%s  %s", cell{text: "warning", style: warn}, w)
	}
	for i, r := range st.Rests {
		p.line("%s  %s", []string{"rests on", "        "}[min(i, 1)], r)
	}
}

// thousands is a number with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
