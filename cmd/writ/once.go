package main

import (
	"os"
	"strconv"

	"writ.dev/writ"
)

// keptFile is where a key or token that is shown only once goes instead of the
// screen. It is made before the server is asked, so that a key is not lost
// because a folder was missing.
type keptFile struct {
	f       *os.File
	written bool
}

// keepFile makes a new file of mode 0600; path "" keeps nothing.
func (c *cli) keepFile(path string) (*keptFile, error) {
	if path == "" || c.flags.dryRun {
		return &keptFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fileError("file", path, err)
	}
	return &keptFile{f: f}, nil
}

// write puts the text into the file, and gives back what is left to show.
func (k *keptFile) write(text string) (string, error) {
	if k.f == nil || text == "" {
		return text, nil
	}
	_, err := k.f.WriteString(text + "\n")
	if err == nil {
		err = k.f.Sync()
	}
	if closing := k.f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return "", fileError("file", k.f.Name(), err)
	}
	k.written = true
	return "", nil
}

// discard removes a file that nothing was written to.
func (k *keptFile) discard() {
	if k.f != nil && !k.written {
		k.f.Close()
		_ = os.Remove(k.f.Name()) // an empty file that stays does no harm
	}
}

// sayOnce says where the text of a key or token is.
func (c *cli) sayOnce(text, file string) {
	switch {
	case text != "":
		c.say("It is shown this once, and kept nowhere:")
	case file != "":
		c.say("Its text is in %s (mode 0600) and nowhere else.", file)
	}
}

// plural is a number of things.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// needFlag refuses a flag that was left away.
func needFlag(flag, value, fix string) error {
	if value == "" {
		return writ.Invalid("--"+flag, "--"+flag+" is missing", fix).WithWhy("nothing else says it")
	}
	return nil
}
