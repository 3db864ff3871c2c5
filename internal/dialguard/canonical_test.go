package dialguard

import (
	"testing"

	"writ.dev/writ"
)

// T8: one spelling for what is one host.
func TestTrapT08Canonical(t *testing.T) {
	for in, want := range map[string]string{
		"api.github.com":           "api.github.com",
		"API.GitHub.COM":           "api.github.com",
		"api.github.com.":          "api.github.com",
		"api.github.com:443":       "api.github.com",
		"API.github.com.:443":      "api.github.com",
		"api.github.com:8443":      "api.github.com:8443",
		"my_bucket.s3.test":        "my_bucket.s3.test",
		"r3---sn-4g5e6nez.c.test":  "r3---sn-4g5e6nez.c.test",
		"bücher.example":           "xn--bcher-kva.example",
		"BÜCHER.example:8443":      "xn--bcher-kva.example:8443",
		"xn--bcher-kva.example":    "xn--bcher-kva.example",
		"XN--BCHER-KVA.example":    "xn--bcher-kva.example",
		"例え。テスト":                   "xn--r8jz45g.xn--zckzah",
		"1.2.3.4":                  "1.2.3.4",
		"1.2.3.4:443":              "1.2.3.4",
		"[2001:DB8:0:0::1]":        "[2001:db8::1]",
		"[2001:db8::1]:8443":       "[2001:db8::1]:8443",
		"[::ffff:1.2.3.4]":         "1.2.3.4",
		"[::ffff:102:304]:8443":    "1.2.3.4:8443",
		"localhost":                "localhost",
		"пример.испытание":         "xn--e1afmkfd.xn--80akhbyknj4f",
		"api.github.com:00443":     "",
		"":                         "",
		".":                        "",
		":443":                     "",
		"a..b":                     "",
		"-a.test":                  "",
		"a b.test":                 "",
		"a/b.test":                 "",
		"u@a.test":                 "",
		"a.test:":                  "",
		"a.test:0":                 "",
		"a.test:65536":             "",
		"a.test:+1":                "",
		"a.test:443:443":           "",
		"::1":                      "",
		"[fe80::1%25eth0]":         "",
		"[fe80::1%eth0]":           "",
		"[1.2.3.4]":                "",
		"[::1":                     "",
		"0x7f.1":                   "",
		"0x7f000001":               "",
		"2130706433":               "",
		"017700000001":             "",
		"0177.0.0.1":               "",
		"127.1":                    "",
		"127.0.0.1.":               "127.0.0.1",
		"127.0.0.0x1":              "",
		"1.2.3.4.5":                "",
		"１２７.0.0.1":                "",
		"127。0。0。1":                "",
		"ⅼocalhost\u00ad\u200b.x.": "localhost.x",
		"a\u202eb.test":            "",
		"xn--a.test":               "",
		"xn--.test":                "",
		"xn--api-.test":            "",
		"аpi.github.com":           "", // Cyrillic а
		"xn--pi-6kc.github.com":    "", // the same, encoded
		"gοogle.com":               "", // Greek ο
	} {
		got, err := Canonical(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Canonical(%q) = %q, %v; want %q", in, got, err, want)
		}
		if err != nil && writ.KindOf(err) != writ.KindInvalid {
			t.Errorf("Canonical(%q): not an input error: %v", in, err)
		}
		if got != "" {
			if again, err := Canonical(got); again != got || err != nil {
				t.Errorf("Canonical(%q) = %q, %v: not stable", got, again, err)
			}
		}
	}
}
