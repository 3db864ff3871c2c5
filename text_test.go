package writ

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// T7: one alphabet and one case, nothing that reads as something else.
func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "7", "claude-pay", "stripe.test", "a_b", "x" + strings.Repeat("a", 62), "roots", "admin-tools", "idns", "pol", "grt-1", "a..b"} {
		if err := CheckName("name", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", strings.Repeat("a", 64), "A", "claude-Pay", "-a", "a-", ".a", "a.", "_a", "a_", "a b", " a", "a\n", "a\x00", "a/b", "a:b", "a@b", "a*", "*", "{{a}}", "${a}", "%61", "a,b", "a'b", `a"b`, "a=b",
		"root", "admin", "all", "any", "none", "default", "me", "self", "system", "writ", "new", "everyone", "anonymous", "unknown", "null",
		"idn_x", "org_1", "app_a", "cred_a", "cver_1", "grt_1", "ses_1", "pol_1", "key_1", "dec_1", "use_1", "ev_1",
		"сlaude", "pаy", "ａ", "é", "ſ", "\u212a", "a\u200db", "a\u202eb", "a\u00adb", "\ufeffa", "a\xff",
	} {
		var e *Error
		err := CheckName("name", name)
		if !errors.As(err, &e) || e.Kind != KindInvalid || e.Field != "name" || e.Fix == "" {
			t.Errorf("%q was taken: %v", name, err)
		} else if Printable(e.Message, 1000) != e.Message {
			t.Errorf("%q: the message is unsafe: %q", name, e.Message)
		}
	}
}

func TestCheckPersonName(t *testing.T) {
	for _, name := range []string{"ana@acme.dev", "a.b-c_d+e@x.y.test", "7@acme.dev", "a@xn--bcher-kva.test"} {
		if err := CheckPersonName("name", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "ana", "@acme.dev", "ana@", "ana@acme", "Ana@acme.dev", "ana@Acme.dev", "ana@@acme.dev", "ana@b@acme.dev", "ana @acme.dev", "ana@acme.dev ", "ana@acme.dev:443",
		"ana@acme.dev.", "ana@[::1]", "ana@10.0.0.1", "ana@127.1", "аna@acme.dev", "ana@аcme.dev", "ana\u200b@acme.dev", "ana@acme\u3002dev", `"a"@acme.dev`, "a*@acme.dev", "{ana}@acme.dev",
		strings.Repeat("a", 65) + "@acme.dev", "a@" + strings.Repeat("a.", 125) + "dev", "ana\n@acme.dev", "ana@acme..dev",
	} {
		var e *Error
		if err := CheckPersonName("name", name); !errors.As(err, &e) || e.Kind != KindInvalid || e.Fix == "" {
			t.Errorf("%q was taken: %v", name, err)
		}
	}
}

func TestCheckText(t *testing.T) {
	for _, text := range []string{"", "pays invoices", "Müller & Söhne, 100 %", "日本語", "a\u0301", strings.Repeat("a", MaxText)} {
		if err := CheckText("purpose", text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		strings.Repeat("a", MaxText+1), "a\nb", "a\tb", "a\rb", "\x00", "\x1b[31mred", "\x7f", "\u0085", "\u009b", "a\xffb", "a\u202eb", "a\u2066b", "a\u200bb", "a\u200eb", "\ufeffa", "a\u00adb",
		"a\u2028b", "a\u2029b", "\U000e0041", "\ufffd",
	} {
		var e *Error
		if err := CheckText("purpose", text); !errors.As(err, &e) || e.Kind != KindInvalid || e.Field != "purpose" {
			t.Errorf("%q was taken: %v", text, err)
		}
	}
}

// FuzzPrintable: whatever comes in, one safe line of bounded length comes out,
// and safe text that fits stays as it is.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb", "\x1b[0m", "a\xff", "\u202e", strings.Repeat("é", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const limit = 40
		got := Printable(s, limit)
		if !utf8.ValidString(got) || len(got) > limit+utf8.UTFMax+len("…") || strings.ContainsFunc(got, unsafeRune) {
			t.Fatalf("%q became %q", s, got)
		}
		if CheckText("", s) == nil && len(s) <= limit && got != s {
			t.Fatalf("%q is safe and became %q", s, got)
		}
		if CheckText("", got) != nil {
			t.Fatalf("%q became %q, which is not safe text", s, got)
		}
	})
}
