package run

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// gitTimeout is how long a request may wait for git to compare a worktree.
	gitTimeout = 500 * time.Millisecond
	// dirtyLasts is how long the comparison counts as fresh.
	dirtyLasts = 20 * time.Second
	// gitTooSlow is how long a worktree is left alone that took longer.
	gitTooSlow = 10 * time.Minute
)

// repoFacts is what is sent about a repository.
type repoFacts struct {
	remote, commit string
	dirty          *bool

	asked    time.Time     // when git was last asked
	patience time.Duration // not to be asked again before that has passed
}

// repo is a worktree and where its data lies (gitrepository-layout(5)).
type repo struct {
	root   string // the worktree
	dir    string // HEAD is here
	common string // refs, packed-refs and config are here
}

// findRepo looks for a repository around a folder. The files it reads belong
// to the program: each is bounded, must be a regular file, and what comes out
// of it is checked for its form, so that a link to somewhere else yields
// nothing but a missing fact.
func findRepo(cwd string) (repo, bool) {
	for dir := filepath.Clean(cwd); ; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, ".git")
		info, err := os.Stat(at)
		switch {
		case err == nil && info.IsDir():
			return repo{root: dir, dir: at, common: at}, true
		case err == nil:
			return linkedRepo(dir, at)
		case dir == filepath.Dir(dir):
			return repo{}, false
		}
	}
}

// linkedRepo follows the .git file of a linked worktree or a submodule.
func linkedRepo(root, file string) (repo, bool) {
	raw, err := readRegular(file, 4096)
	if err != nil {
		return repo{}, false
	}
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(raw)), "gitdir: ")
	if !ok {
		return repo{}, false
	}
	dir = from(root, dir)
	common := dir
	if raw, err := readRegular(filepath.Join(dir, "commondir"), 4096); err == nil {
		common = from(dir, strings.TrimSpace(string(raw)))
	}
	return repo{root: root, dir: dir, common: common}, true
}

func from(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

var (
	gitHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	gitRef  = regexp.MustCompile(`^refs/[A-Za-z0-9._/@+-]+$`)
)

// commit is the id that HEAD names, or empty.
func (r repo) commit() string {
	name := "HEAD"
	for range 5 { // symbolic refs may point to symbolic refs; git gives up at 5, too
		raw, err := readRegular(filepath.Join(r.dir, name), 4096)
		if err != nil {
			raw, err = readRegular(filepath.Join(r.common, name), 4096)
		}
		if err != nil {
			return r.packed(name)
		}
		value := strings.TrimSpace(string(raw))
		if gitHash.MatchString(value) {
			return value
		}
		ref, ok := strings.CutPrefix(value, "ref: ")
		if !ok || !gitRef.MatchString(ref) || strings.Contains(ref, "..") {
			return ""
		}
		name = ref
	}
	return ""
}

func (r repo) packed(ref string) string {
	raw, err := readRegular(filepath.Join(r.common, "packed-refs"), 16<<20)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(raw) {
		id, name, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if ok && name == ref && gitHash.MatchString(id) {
			return id
		}
	}
	return ""
}

// remote is the address of the remote "origin" as the repository's own config
// has it; includes and insteadOf are not followed.
func (r repo) remote() string {
	raw, err := readRegular(filepath.Join(r.common, "config"), 1<<20)
	if err != nil {
		return ""
	}
	inOrigin := false
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inOrigin = line == `[remote "origin"]`
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if inOrigin && ok && strings.EqualFold(strings.TrimSpace(key), "url") {
			return cleanRemote(strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	return ""
}

// askGit compares tracked files with HEAD; nil when it could not be told.
//
// The repository belongs to the program, and its configuration can name
// commands that git starts (fsmonitor, filters, hooks). They must get no more
// than the program has: so git is started as the program is, below this
// process and behind the same Landlock rules, with an environment of its own
// that holds nothing.
func (f *facts) askGit(ctx context.Context, root string) (dirty *bool, patience time.Duration) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, gitTooSlow
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := confined(f.deny, git, []string{
		"git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
		"status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all",
	})
	cmd.Dir = root
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, gitTooSlow
	}
	done, err := spawn(cmd)
	if err != nil {
		return nil, gitTooSlow
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Kill() // already gone is as good
		out.Close()            // a command that git started may hold the other end
	})
	n, err := io.ReadFull(out, make([]byte, 1))
	changed := n > 0 // one byte of a list of changes says all
	if changed {
		_ = cmd.Process.Kill()
	}
	waitErr := done()
	stop()
	switch {
	case changed:
		return &changed, 0
	case err == io.EOF && waitErr == nil:
		return &changed, 0
	case ctx.Err() != nil:
		return nil, gitTooSlow
	}
	return nil, 0
}
