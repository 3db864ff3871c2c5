package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (c *cli) evidenceCommand() *cobra.Command {
	return c.group("evidence", "Evidence: one use, provable to a stranger", c.evidenceExport())
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
				p.line("wrote %s, %s bytes. Check it anywhere with: writ evidence verify %s --key FILE", out, strconv.FormatInt(n, 10), shellQuote(safe(out)))
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
