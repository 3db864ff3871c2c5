package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// added shows what a change made, in one line; a dry run shows all of it.
func added[T any](c *cli, done string, ch *client.Change[T]) error {
	return c.show(ch, func(p *page) {
		if !ch.DryRun {
			p.line("%s", done+entry(ch.Record))
			return
		}
		p.line("dry run: nothing was changed; this would be %s", done)
		for _, l := range difference(map[string]any{}, ch.Item) {
			p.line("  %s", l)
		}
	})
}

// edited shows what a change altered, field by field.
func edited[T any](c *cli, label string, before T, ch *client.Change[T]) error {
	return c.show(ch, func(p *page) {
		lines := difference(before, ch.Item)
		switch {
		case len(lines) == 0:
			p.line("%s is that already%s", label, entry(ch.Record))
		case ch.DryRun:
			p.line("dry run: nothing was changed; %s would change so", label)
		default:
			p.line("changed %s%s", label, entry(ch.Record))
		}
		for _, l := range lines {
			p.line("  %s", l)
		}
	})
}

// entry names the ledger entry of a change.
func entry(r client.Recorded) string {
	if r.Seq == 0 && r.Epoch == (writ.Epoch{}) {
		return ""
	}
	return "  (ledger " + strconv.FormatInt(r.Seq, 10) + ")"
}

// difference lists the fields in which b differs from a, as their JSON has
// them: "- path: old" and "+ path: new".
func difference(a, b any) []string {
	before, after := flatten(a), flatten(b)
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(union(before, after))) {
		was, had := before[path]
		is, has := after[path]
		if had && has && was == is {
			continue
		}
		if had {
			lines = append(lines, "- "+path+": "+was)
		}
		if has {
			lines = append(lines, "+ "+path+": "+is)
		}
	}
	return lines
}

func union(a, b map[string]string) map[string]string {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// flatten turns a value into its JSON's leaves by path.
func flatten(v any) map[string]string {
	out := map[string]string{}
	b, err := json.Marshal(v)
	if err != nil {
		return out
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber() // sequence numbers would lose digits as floats
	var tree any
	if d.Decode(&tree) != nil {
		return out
	}
	flattenInto(out, "", tree)
	return out
}

func flattenInto(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flattenInto(out, strings.TrimPrefix(path+"."+k, "."), x)
		}
	case []any:
		for i, x := range v {
			flattenInto(out, path+"["+strconv.Itoa(i)+"]", x)
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}

// stopper is a method of the client that withdraws one thing.
type stopper func(api *client.Client, ctx context.Context, ref string, why client.Because, o ...client.Option) (*client.Revocation, error)

// stopCommand is "revoke", "suspend" or "end" of one noun.
func (c *cli) stopCommand(verb string, final bool, short, name, noun string, act stopper, long string) *cobra.Command {
	example := "writ " + noun + " " + verb + " " + name + ` --reason "no longer needed"`
	if final {
		example += "\nwrit " + noun + " " + verb + " " + name + " --dry-run"
	}
	return c.command(spec{
		use: verb + " NAME", short: short, long: long, example: example,
		kind: acts, names: one("a name or id"), out: client.Revocation{},
		run: func(ctx context.Context, args []string) error {
			return c.withdraw(ctx, args[0], verb, final, act)
		},
	})
}

// withdraw carries an act out, and asks first where nothing leads back.
func (c *cli) withdraw(ctx context.Context, ref, verb string, final bool, act stopper) error {
	if err := checkRef("name", ref); err != nil {
		return err
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	if final && !c.flags.yes && !c.flags.dryRun {
		would, err := act(api, ctx, ref, c.because(), client.DryRun())
		if err != nil {
			return err
		}
		question := fmt.Sprintf("%s %s: %s. Nothing leads back.", verb, or(would.Target.Label, ref), ending(would))
		if err := c.confirm(ctx, question); err != nil {
			return err
		}
	}
	r, err := act(api, ctx, ref, c.because(), c.options()...)
	if err != nil {
		return err
	}
	return c.show(r, func(p *page) { withdrawn(p, r) })
}

// ending counts what an act would end.
func ending(r *client.Revocation) string {
	var parts []string
	for _, n := range []struct {
		count int
		one   string
		many  string
	}{{r.Identities, "identity", "identities"}, {r.Sessions, "session", "sessions"}, {r.Grants, "grant", "grants"}, {r.Credentials, "credential", "credentials"}, {r.Keys, "key", "keys"}} {
		switch n.count {
		case 0:
		case 1:
			parts = append(parts, "1 "+n.one)
		default:
			parts = append(parts, strconv.Itoa(n.count)+" "+n.many)
		}
	}
	if len(parts) == 0 {
		return "it ends nothing else"
	}
	return "it ends " + listed(parts)
}

// withdrawn tells what a withdrawal ended: what the act itself ended, what was
// in flight and is confirmed down of what was found, how long it took, and
// where the record is. What is not confirmed is shown as such.
func withdrawn(p *page, r *client.Revocation) {
	if r.DryRun {
		p.line("dry run: nothing was ended; %s %s: %s", r.Act, r.Target.Label, ending(r))
		return
	}
	down := true
	var parts []string
	for _, n := range []struct {
		name  string
		count client.Count
	}{
		{"identities", all(r.Identities)}, {"sessions", all(r.Sessions)}, {"grants", all(r.Grants)}, {"credentials", all(r.Credentials)}, {"keys", all(r.Keys)},
		{"uses", r.Uses}, {"connections", r.Connections}, {"child", r.Children},
	} {
		if n.count.Found == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %d/%d", n.name, n.count.Down, n.count.Found))
		down = down && n.count.Down >= n.count.Found
	}
	parts = append(parts, "ledger "+strconv.FormatInt(r.Record.Seq, 10))
	head := cell{text: past(r.Act), style: good}
	if !down {
		head.style = warn
	}
	p.line("%s %s in %s: %s", head, r.Target.Label, micros(r.Micros), strings.Join(parts, " · "))
	if !down {
		p.line("  not all that was in flight is confirmed down: nothing new starts, and what did not answer has lost its session")
	}
}

func all(n int) client.Count { return client.Count{Found: n, Down: n} }

// past is an act as it is told afterwards.
func past(act string) string {
	switch act {
	case "revoke":
		return "Revoked"
	case "suspend":
		return "Suspended"
	case "end":
		return "Ended"
	}
	return "Stopped"
}

func micros(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%.1f ms", float64(n)/1000)
	}
	return fmt.Sprintf("%.2f s", float64(n)/1e6)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// textEdit is a flag whose absence leaves a field as it is; "none" clears it.
type textEdit struct {
	value string
	set   bool
}

func (t *textEdit) String() string { return t.value }

// Set takes the new value.
func (t *textEdit) Set(s string) error {
	t.value, t.set = s, true
	if s == "none" {
		t.value = ""
	}
	return nil
}

// Type is what help calls the value.
func (t *textEdit) Type() string { return "text" }

// edit is the change that the flag asks for, nil for none.
func (t *textEdit) edit() *string {
	if !t.set {
		return nil
	}
	return &t.value
}

// anySet reports whether any flag of its own was given to an edit.
func (c *cli) anySet(f *pflag.FlagSet, names ...string) error {
	for _, n := range names {
		if f.Changed(n) {
			return nil
		}
	}
	flags := make([]string, len(names))
	for i, n := range names {
		flags[i] = "--" + n
	}
	return writ.Invalid("", "there is nothing to change", "say what to change with "+listed(flags))
}

// getOne asks for one thing by name, id or beginning of an id.
func getOne[T any](ctx context.Context, c *cli, ref string, get func(*client.Client, context.Context, string) (*T, error)) (*T, error) {
	if err := checkRef("name", ref); err != nil {
		return nil, err
	}
	api, err := c.client()
	if err != nil {
		return nil, err
	}
	return get(api, ctx, ref)
}

// changeOne carries out an act on one thing that gives it back.
func changeOne[T any](ctx context.Context, c *cli, ref string, act func(*client.Client, context.Context, string, client.Because, ...client.Option) (*client.Change[T], error)) (*client.Change[T], error) {
	if err := checkRef("name", ref); err != nil {
		return nil, err
	}
	api, err := c.client()
	if err != nil {
		return nil, err
	}
	return act(api, ctx, ref, c.because(), c.options()...)
}
