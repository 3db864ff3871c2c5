package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"writ.dev/writ"
)

// projectFile is found in the current folder or one above it. It holds
// nothing secret and is meant to be committed.
const projectFile = ".writ.toml"

// project is what the project file says.
type project struct {
	path   string // "" when there is none
	server string
	name   string
	agent  string
	task   string
	length string // how long a run lasts
}

func (c *cli) findProject() (project, error) {
	dir, err := os.Getwd()
	if err != nil {
		return project{}, nil // no current folder, no project
	}
	for {
		path := filepath.Join(dir, projectFile)
		b, err := readFile(path, maxSettingsFile)
		if err == nil {
			return parseProject(path, string(b))
		}
		if !os.IsNotExist(err) {
			return project{}, fileError(projectFile, path, err)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return project{}, nil
		}
		dir = up
	}
}

// parseProject reads the part of TOML that the file needs: lines of
// key = "basic string", comments and empty lines. Every such file is TOML;
// what else TOML has is refused with the line, since a setting that is
// silently not understood is worse than none.
func parseProject(path, text string) (project, error) {
	p := project{path: path}
	keys := map[string]*string{"server": &p.server, "project": &p.name, "agent": &p.agent, "task": &p.task, "for": &p.length}
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		where := path + ":" + strconv.Itoa(n)
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		target, known := keys[key]
		switch {
		case !ok || strings.HasPrefix(line, "["):
			return p, writ.Invalid(where, where+" is not a setting", `write settings as in: agent = "claude-pay"`)
		case !known:
			return p, writ.Invalid(where, where+" has an unknown setting: "+writ.Printable(key, 40), "the settings are server, project, agent, task and for")
		case seen[key]:
			return p, writ.Invalid(where, where+" sets "+key+" a second time", "say it once")
		}
		seen[key] = true
		v, err := basicString(strings.TrimSpace(value))
		if err != nil || writ.CheckText(key, v) != nil {
			return p, writ.Invalid(where, where+" has a value that is not a text in double quotes on one line", `write it as in: `+key+` = "..."`)
		}
		*target = v
	}
	return p, nil
}

// basicString reads a TOML basic string with a comment behind it. Go's quoting
// agrees with TOML's but for \x, \a, \v and octal, which TOML does not have.
func basicString(s string) (string, error) {
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil || quoted[0] != '"' {
		return "", strconv.ErrSyntax
	}
	if rest := strings.TrimSpace(s[len(quoted):]); rest != "" && rest[0] != '#' {
		return "", strconv.ErrSyntax
	}
	for i := 0; i+1 < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if !strings.ContainsRune(`btnfr"\uU`, rune(quoted[i+1])) {
			return "", strconv.ErrSyntax
		}
		i++
	}
	return strconv.Unquote(quoted)
}
