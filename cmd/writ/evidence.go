package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/mod/sumdb/note"

	"writ.dev/writ/evidence"
)

func (c *cli) evidenceCommand() *cobra.Command {
	return c.group("evidence", "Evidence: one use, provable to a stranger", c.evidenceExport(), c.evidenceVerify())
}

// exportResult is what an export prints as JSON.
type exportResult struct {
	Use   string `json:"use,omitempty"`
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Size  int64  `json:"size,omitempty" doc:"entries, of a whole ledger"`
}

func (c *cli) evidenceExport() *cobra.Command {
	var use, out string
	return c.command(spec{
		use: "export", short: "Write the evidence of one use into a file",
		long:    "The file joins the credential's version, the grant, who authorised it, the delegation,\nthe session, the decision, the outcome and the proofs. It opens that one use and no\nother. It is checked offline with writ evidence verify.",
		example: "writ evidence export --use use_01jd -o use.evidence",
		out:     exportResult{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&use, "use", "", "the `use` or decision")
			f.StringVarP(&out, "out", "o", "", "the `file` to write; it must not exist")
		},
		run: func(ctx context.Context, _ []string) error {
			if err := needFlag("use", use, "say which, as in --use use_01jd; find it with writ use ls"); err != nil {
				return err
			}
			if err := needFlag("out", out, "say where to, as in -o use.evidence"); err != nil {
				return err
			}
			if err := checkRef("--use", use); err != nil {
				return err
			}
			api, err := c.client()
			if err != nil {
				return err
			}
			n, err := writeNew(out, func(w io.Writer) (int64, error) { return api.Evidence(ctx, use, w) })
			if err != nil {
				return err
			}
			return c.show(exportResult{Use: use, File: out, Bytes: n}, func(p *page) {
				p.line("wrote %s, %s bytes. Check it anywhere with: writ evidence verify %s --key FILE", out, thousands(n), shellQuote(safe(out)))
			})
		},
	})
}

// writeNew writes a file that must not exist. It writes beside it and gives it
// its name when it is whole: what broke off leaves nothing that looks like one.
func writeNew(out string, write func(io.Writer) (int64, error)) (n int64, err error) {
	if _, err := os.Lstat(out); err == nil {
		return 0, fileError("--out", out, os.ErrExist) // before anything is asked for
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".writ-out-") // 0600
	if err != nil {
		return 0, fileError("--out", out, err)
	}
	defer os.Remove(f.Name()) // its second name, when it has one
	defer f.Close()
	if n, err = write(f); err != nil {
		return n, err
	}
	if err := f.Sync(); err != nil {
		return n, fileError("--out", out, err)
	}
	// Link refuses a name that is taken, which Rename would replace.
	if err := os.Link(f.Name(), out); err != nil {
		return n, fileError("--out", out, err)
	}
	return n, nil
}

func (c *cli) evidenceVerify() *cobra.Command {
	var keyFile string
	return c.command(spec{
		use: "verify FILE", short: "Check evidence offline, with no server and no account",
		long: `The keys of the log come with --key, from its owner and not with the file. Without
them the evidence is at best consistent, and who signed it stays unproven: exit code 5,
as for evidence that does not hold.`,
		example: "writ evidence verify use.evidence --key acme.vkey",
		names:   one("a file"), out: evidence.Report{},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&keyFile, "key", "", "a `file` with the log's verifier keys, one a line")
		},
		run: func(_ context.Context, args []string) error {
			var keys []note.Verifier
			if keyFile != "" {
				b, err := readFile(keyFile, maxSettingsFile)
				if err != nil {
					return fileError("--key", keyFile, err)
				}
				if keys, err = verifierKeys(string(b)); err != nil {
					return err
				}
			}
			f, err := os.Open(args[0])
			if err != nil {
				return fileError("file", args[0], err)
			}
			defer f.Close()
			report, verdict := evidence.Verify(f, keys)
			if report == nil {
				return verdict
			}
			if err := c.show(report, func(p *page) { c.evidencePage(p, report) }); err != nil {
				return err
			}
			return verdict
		},
	})
}

func (c *cli) evidencePage(p *page, r *evidence.Report) {
	head := cell{text: "✓ verified", style: good}
	if len(r.Signers) == 0 {
		head = cell{text: "▲ consistent, signer unproven", style: warn}
	}
	p.line("%s  %s of %s  %s", head, r.Use, r.Org, r.Time)
	p.line("  request     %s", orDash(r.Request))
	p.line("  checkpoint  %s, %s entries, root %s", r.Checkpoint.Origin, thousands(r.Checkpoint.Size), short16(r.Checkpoint.Root))
	p.line("  signed by   %s", orMissing(listed(r.Signers)))
	p.blank()
	p.line("Proven:")
	for _, s := range r.Proven {
		p.line("  %s %s %s", cell{text: "✓", style: good}, s.Text, cell{text: entriesText(s.Entries), style: dim})
	}
	p.line("Not proven by this file:")
	for _, s := range r.Unproven {
		p.line("  %s %s %s", cell{text: "–", style: warn}, s.Text, cell{text: entriesText(s.Entries), style: dim})
	}
	if r.Notice != "" {
		p.blank()
		p.line("%s", r.Notice)
	}
}

func entriesText(seqs []int64) string {
	if len(seqs) == 0 {
		return ""
	}
	names := make([]string, len(seqs))
	for i, n := range seqs {
		names[i] = strconv.FormatInt(n, 10)
	}
	return "(ledger " + listed(names) + ")"
}
