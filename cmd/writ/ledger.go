package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
	"writ.dev/writ/store/sqlite"
)

func (c *cli) ledgerCommand() *cobra.Command {
	return c.group("ledger", "The ledger: what happened, provably", c.ledgerVerify(), c.ledgerKey(), c.ledgerCheckpoint(), c.ledgerExport())
}

// ledgerReport is what a verification found, as JSON.
type ledgerReport struct {
	OK          bool            `json:"ok"`
	Org         writ.ID         `json:"org"`
	Size        int64           `json:"size" doc:"entries that were derived anew"`
	Root        string          `json:"root" doc:"RFC 6962 root over them, hex"`
	Epoch       writ.Epoch      `json:"epoch"`
	Changes     int64           `json:"changes"`
	Allows      int64           `json:"allows"`
	Outcomes    int64           `json:"outcomes" doc:"uses that have one"`
	Denials     int64           `json:"denials" doc:"recorded one by one"`
	Repeats     int64           `json:"repeats" doc:"denials counted in summaries"`
	Cuts        int64           `json:"cuts"`
	Withheld    int64           `json:"withheld" doc:"parts that are erased or not shown"`
	Checkpoints int             `json:"checkpoints" doc:"signed checkpoints that it matches"`
	Keys        string          `json:"keys" doc:"where the log's keys came from: --key, or the server itself"`
	Problems    []ledgerProblem `json:"problems" doc:"why it is not to be believed"`
	Findings    []ledgerFinding `json:"findings" doc:"what is worth a look in a log that is"`
}

type ledgerProblem struct {
	Seq   int64  `json:"seq" doc:"of the entry, -1 when it is about the whole"`
	What  string `json:"what"`
	Means string `json:"means,omitempty"`
}

type ledgerFinding struct {
	Seq  int64   `json:"seq"`
	ID   writ.ID `json:"id,omitempty"`
	What string  `json:"what"`
}

func (c *cli) ledgerVerify() *cobra.Command {
	var v ledgerCheck
	return c.command(spec{
		use: "verify", short: "Derive the whole log anew from its entries and compare",
		long: `The entries are fetched and hashed here, by code that shares nothing with the writer:
order, parts, tree, the chain of changes, and that nothing was allowed after what it
rests on had ended. --checkpoint FILE is a checkpoint that you kept: the log must
extend it. --key FILE holds the log's keys, which you got by another way; without it
they are the server's own word. --from FILE verifies an export, with no server;
--data FOLDER verifies what lies in a stopped server's folder, also when the server
refuses to start on it.
Exit code 5 when the log does not hold.`,
		example: `writ ledger verify
writ ledger verify --checkpoint last-week.note --key acme.vkey
writ ledger verify --from acme.ledger --checkpoint acme.note --key acme.vkey
writ ledger verify --data /var/lib/writ --checkpoint last-week.note --key acme.vkey`,
		out: ledgerReport{},
		flags: func(f *pflag.FlagSet) {
			f.StringArrayVar(&v.checkpoints, "checkpoint", nil, "a `file` with a signed checkpoint that the log must extend; may be repeated")
			f.StringVar(&v.keys, "key", "", "a `file` with the log's verifier keys, one a line")
			f.StringVar(&v.from, "from", "", "a `file` that writ ledger export wrote, instead of asking the server")
			f.StringVar(&v.data, "data", "", "the data `folder` of a stopped server, instead of asking the server")
			f.StringVar(&v.org, "org", store.DefaultOrg, "with --data: which `organization`, by name or id")
		},
		run: func(ctx context.Context, _ []string) error {
			report, err := c.verifyLedger(ctx, v)
			if err != nil {
				return err
			}
			if err := c.show(report, func(p *page) { ledgerPage(p, report) }); err != nil || report.OK {
				return err
			}
			return writ.Errorf(writ.KindCheckFailed, "the ledger does not hold").
				WithWhy("%s", report.Problems[0].What).WithFix("stop the server, keep its data as it is, and find out who changed it")
		},
	})
}

// ledgerCheck is what a verification is asked to do, all of it in files.
type ledgerCheck struct {
	from        string
	data, org   string
	checkpoints []string
	keys        string
}

// config reads the checkpoints and keys.
func (v *ledgerCheck) config() (cfg ledger.VerifyConfig, err error) {
	for _, path := range v.checkpoints {
		b, err := readFile(path, 1<<20)
		if err != nil {
			return cfg, fileError("--checkpoint", path, err)
		}
		cfg.Checkpoints = append(cfg.Checkpoints, b)
	}
	if v.keys == "" {
		return cfg, nil
	}
	b, err := readFile(v.keys, maxSettingsFile)
	if err != nil {
		return cfg, fileError("--key", v.keys, err)
	}
	cfg.Keys, err = verifierKeys(string(b))
	return cfg, err
}

// verifyLedger verifies an export against the checkpoints and keys that were
// given, and where it comes from the server against its newest checkpoint too.
func (c *cli) verifyLedger(ctx context.Context, v ledgerCheck) (*ledgerReport, error) {
	cfg, err := v.config()
	if err != nil {
		return nil, err
	}
	keysFrom := "--key"
	if v.from != "" || v.data != "" {
		if len(cfg.Checkpoints) > 0 && len(cfg.Keys) == 0 {
			return nil, writ.Invalid("--key", "--key is missing", "a checkpoint is checked with the log's keys: give them with --key FILE")
		}
		if v.from != "" && v.data != "" {
			return nil, writ.Invalid("--data", "--from and --data are two logs", "give one of them")
		}
	}
	if v.data != "" {
		return c.verifyStopped(ctx, v, cfg)
	}
	var in *os.File
	if v.from != "" {
		if in, err = os.Open(v.from); err != nil {
			return nil, fileError("--from", v.from, err)
		}
		defer in.Close()
	} else {
		if in, keysFrom, err = c.fetchLedger(ctx, &cfg); err != nil {
			return nil, err
		}
		defer os.Remove(in.Name()) // an unnamed file would do, but not everywhere
		defer in.Close()
	}
	defer c.progress(&cfg)()
	r, err := ledger.VerifyExport(ctx, in, cfg)
	if err != nil {
		return nil, err
	}
	return reportOf(r, keysFrom), nil
}

// progress shows how far a verification has come, and gives what takes the
// line away.
func (c *cli) progress(cfg *ledger.VerifyConfig) func() {
	if !isTerminal(c.stderr) {
		return func() {}
	}
	cfg.Progress = func(done, _ int64) {
		_, _ = io.WriteString(c.stderr, "\rverified "+thousands(done)+" entries\x1b[K")
	}
	return func() { _, _ = io.WriteString(c.stderr, "\r\x1b[K") }
}

// verifyStopped verifies the log in the folder of a stopped server. It takes
// the server's lock, so that nobody writes meanwhile, and needs no key: what
// is sealed stays sealed.
func (c *cli) verifyStopped(ctx context.Context, v ledgerCheck, cfg ledger.VerifyConfig) (report *ledgerReport, err error) {
	if _, err := os.Stat(filepath.Join(v.data, "writ.db")); err != nil {
		return nil, fileError("--data", filepath.Join(v.data, "writ.db"), err)
	}
	engine, err := sqlite.Open(ctx, sqlite.Config{Folder: v.data, ReserveBytes: -1})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Config{Engine: engine, Origin: origin, CheckPolicy: decide.CheckPolicy})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	org, err := s.Org(ctx, v.org)
	if err != nil {
		return nil, err
	}
	cfg.Org, cfg.Reader = org.ID, s.Reader()
	defer c.progress(&cfg)()
	r, err := ledger.Verify(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return reportOf(r, "--key"), nil
}

// fetchLedger gets the entries into a private file, and adds to cfg the newest
// checkpoint and, where --key gave none, the keys that the server names.
func (c *cli) fetchLedger(ctx context.Context, cfg *ledger.VerifyConfig) (in *os.File, keysFrom string, err error) {
	api, err := c.client()
	if err != nil {
		return nil, "", err
	}
	head, err := api.Ledger(ctx)
	if err != nil {
		return nil, "", err
	}
	keysFrom = "--key"
	if len(cfg.Keys) == 0 {
		keysFrom = "the server itself"
		if cfg.Keys, err = verifierKeys(strings.Join(head.Keys, "\n")); err != nil {
			return nil, "", err
		}
	}
	in, err = os.CreateTemp("", "writ-ledger-") // 0600
	if err != nil {
		return nil, "", fileError("ledger", os.TempDir(), err)
	}
	newest, err := api.Export(ctx, in)
	if err == nil {
		_, err = in.Seek(0, io.SeekStart)
	}
	if err != nil {
		in.Close()
		_ = os.Remove(in.Name()) // nothing rests on it
		return nil, "", err
	}
	cfg.Org = head.Org
	cfg.Checkpoints = append(cfg.Checkpoints, []byte(newest.Note))
	return in, keysFrom, nil
}

func reportOf(r *ledger.Report, keys string) *ledgerReport {
	out := &ledgerReport{
		OK: r.OK(), Org: r.Org, Size: r.Size, Root: hex.EncodeToString(r.Root[:]), Epoch: r.Epoch, Changes: r.Changes, Allows: r.Allows,
		Outcomes: r.Outcomes, Denials: r.Denials, Repeats: r.Repeats, Cuts: r.Cuts, Withheld: r.Withheld, Checkpoints: r.Checkpoints,
		Keys: keys, Problems: []ledgerProblem{}, Findings: []ledgerFinding{},
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, ledgerProblem{p.Seq, p.What, p.Means})
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, ledgerFinding{f.Seq, f.ID, f.What})
	}
	return out
}

func ledgerPage(p *page, r *ledgerReport) {
	head := cell{text: "✓ verified", style: good}
	if !r.OK {
		head = cell{text: "✗ NOT verified", style: bad}
	}
	p.line("%s  %s entries of %s, root %s", head, thousands(r.Size), r.Org, short16(r.Root))
	p.line("  changes %s · allows %s, with an outcome %s · denials %s, repeats %s · cuts %s", thousands(r.Changes), thousands(r.Allows), thousands(r.Outcomes), thousands(r.Denials), thousands(r.Repeats), thousands(r.Cuts))
	if r.Withheld > 0 {
		p.line("  %s parts are erased or not shown", thousands(r.Withheld))
	}
	switch {
	case r.Checkpoints == 0:
		p.line("  %s", cell{text: "no checkpoint: the entries fit together, and nothing says where they come from", style: warn})
	case r.Keys != "--key":
		p.line("  %s matched, keys from %s; give the keys with --key FILE to prove who signed", plural(r.Checkpoints, "signed checkpoint"), r.Keys)
	default:
		p.line("  %s matched, keys from --key", plural(r.Checkpoints, "signed checkpoint"))
	}
	for _, x := range r.Problems {
		where := "the whole"
		if x.Seq >= 0 {
			where = "entry " + strconv.FormatInt(x.Seq, 10)
		}
		p.line("  %s %s: %s (%s)", cell{text: "✗", style: bad}, where, x.What, x.Means)
	}
	for _, x := range r.Findings {
		p.line("  %s entry %d: %s %s", cell{text: "▲", style: warn}, x.Seq, x.What, x.ID)
	}
}

func (c *cli) ledgerCheckpoint() *cobra.Command {
	return c.command(spec{
		use: "checkpoint", short: "Print a signed checkpoint to keep, for ledger verify --checkpoint",
		long:    "Kept where the server's operator cannot change it, it shows later that nothing was\ntaken out or rewritten since.",
		example: "writ ledger checkpoint > last-week.note",
		out:     client.Checkpoint{},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			k, err := api.Checkpoint(ctx)
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.writeJSON(k, true)
			}
			// Byte for byte, since it is signed; a note is lines of text, so every
			// other control character is refused rather than written.
			if strings.ContainsFunc(k.Note, func(r rune) bool { return r != '\n' && safe(string(r)) != string(r) }) {
				return writ.Errorf(writ.KindUnavailable, "the server gave a checkpoint that is not text").WithFix("check that it is a Writ server: writ status")
			}
			_, err = io.WriteString(c.stdout, k.Note)
			return err
		},
	})
}

func (c *cli) ledgerExport() *cobra.Command {
	var out string
	return c.command(spec{
		use: "export", short: "Write all entries into a file, for ledger verify --from",
		long:    "The newest checkpoint goes into FILE.note beside it.",
		example: "writ ledger export -o acme.ledger",
		out:     exportResult{},
		flags:   func(f *pflag.FlagSet) { f.StringVarP(&out, "out", "o", "", "the `file` to write; it must not exist") },
		run: func(ctx context.Context, _ []string) error {
			if err := needFlag("out", out, "say where to, as in -o acme.ledger"); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			var checkpoint *client.Checkpoint
			n, err := writeNew(out, func(w io.Writer) (int64, error) {
				count := &counter{w: w}
				checkpoint, err = api.Export(ctx, count)
				return count.n, err
			})
			if err != nil {
				return err
			}
			if _, err := writeNew(out+".note", func(w io.Writer) (int64, error) {
				n, err := io.WriteString(w, checkpoint.Note)
				return int64(n), err
			}); err != nil {
				return err
			}
			return c.show(exportResult{File: out, Bytes: n, Size: checkpoint.Size}, func(p *page) {
				p.line("wrote %s entries to %s, and the checkpoint to %s.note", thousands(checkpoint.Size), out, out)
			})
		},
	})
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

// Write passes b on.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *cli) ledgerKey() *cobra.Command {
	return c.command(spec{
		use: "key", short: "Print the log's verifier keys, to hand to whoever verifies",
		long:    "Hand them over by a way that you trust, and not with the evidence: they are what says\nwhose log it is.",
		example: "writ ledger key > acme.vkey",
		out:     client.Ledger{},
		run: func(ctx context.Context, _ []string) error {
			api, err := c.client()
			if err != nil {
				return err
			}
			l, err := api.Ledger(ctx)
			if err != nil {
				return err
			}
			return c.show(l, func(p *page) {
				for _, k := range l.Keys {
					p.line("%s", k)
				}
			})
		},
	})
}

// verifierKeys reads verifier keys (C2SP signed-note), one a line.
func verifierKeys(text string) ([]note.Verifier, error) {
	var keys []note.Verifier
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, writ.Invalid("key", "not a verifier key: "+writ.Printable(line, 80), "give lines such as writ.acme.dev/org+1a2b3c4d+AXhw..., as the server's owner published them").WithCause(err)
		}
		keys = append(keys, v)
	}
	if len(keys) == 0 {
		return nil, writ.Invalid("key", "there is no verifier key", "give a file with the log's keys, one a line, with --key FILE")
	}
	return keys, nil
}
