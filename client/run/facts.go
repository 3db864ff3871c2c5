package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"writ.dev/writ/internal/proctree"
)

const (
	// maxExe bounds the programs that are hashed. Above it the first request
	// of the program would wait for seconds.
	maxExe = 512 << 20
	// maxRemembered bounds each cache; a full one is emptied.
	maxRemembered = 256
)

// facts describes processes to the server. What changes (the folder, the
// program after an exec) is read each time, since it costs three links; what
// is dear (the hash of a program, the state of a repository) is remembered.
type facts struct {
	deny []string

	mu    sync.Mutex
	exes  map[exeID]*exeHash   // guarded by mu
	repos map[string]repoFacts // by worktree; guarded by mu
}

// exeID changes when the file does.
type exeID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

type exeHash struct {
	once sync.Once
	hex  string
}

func newFacts(deny []string) *facts {
	return &facts{deny: deny, exes: make(map[exeID]*exeHash), repos: make(map[string]repoFacts)}
}

// describe collects what can be told about a process now. Nothing here fails:
// a fact that cannot be had is left out.
func (f *facts) describe(ctx context.Context, who proctree.Process) Runtime {
	if who.PID == 0 {
		return Runtime{}
	}
	proc := "/proc/" + strconv.Itoa(who.PID)
	r := Runtime{PID: who.PID, TTY: clip(who.TTY)}
	if exe, err := os.Readlink(proc + "/exe"); err == nil {
		r.Exe = clip(exe)
	}
	r.ExeSHA256 = f.hashExe(proc + "/exe")
	if line, err := readProc(proc+"/cmdline", 4096); err == nil {
		r.Argv0 = programName(line)
	}
	cwd, err := os.Readlink(proc + "/cwd")
	if err == nil {
		r.Cwd = clip(cwd)
	}
	// If the pid belongs to another process by now, the facts are mixed.
	if now, err := proctree.Stat(who.PID); err != nil || !now.Same(who) {
		return Runtime{PID: who.PID}
	}
	if cwd != "" {
		g := f.repository(ctx, cwd)
		r.GitRemote, r.GitCommit, r.GitDirty = g.remote, g.commit, g.dirty
	}
	return r
}

// programName is argv[0] without its folders, up to the first space: some
// programs write their whole command line into it.
func programName(cmdline []byte) string {
	name, _, _ := bytes.Cut(cmdline, []byte{0})
	name, _, _ = bytes.Cut(name, []byte(" "))
	if len(name) == 0 {
		return ""
	}
	s := filepath.Base(string(name))
	return clip(s[:min(len(s), 64)])
}

// readProc reads the beginning of a file under /proc, which has no size.
func readProc(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// hashExe hashes a program through /proc/PID/exe, which leads to the very file
// that was started, replaced or deleted though it may be by now.
func (f *facts) hashExe(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Size > maxExe {
		return ""
	}
	h := f.exe(exeIDOf(&st))
	h.once.Do(func() {
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err == nil {
			h.hex = hex.EncodeToString(sum.Sum(nil))
		}
	})
	return h.hex
}

func (f *facts) exe(id exeID) *exeHash {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.exes[id]
	if h == nil {
		if len(f.exes) >= maxRemembered {
			clear(f.exes)
		}
		h = &exeHash{}
		f.exes[id] = h
	}
	return h
}

// repository gives the facts of the repository around cwd.
func (f *facts) repository(ctx context.Context, cwd string) repoFacts {
	repo, ok := findRepo(cwd)
	if !ok {
		return repoFacts{}
	}
	f.mu.Lock()
	known := f.repos[repo.root]
	f.mu.Unlock()

	// Commit and remote are two small files: always fresh, for a program that
	// runs for hours moves on. Only the comparison with the worktree is kept.
	now := repoFacts{remote: repo.remote(), commit: repo.commit(), dirty: known.dirty, asked: known.asked, patience: known.patience}
	if now.commit != known.commit || time.Since(known.asked) > max(dirtyLasts, known.patience) {
		now.dirty, now.patience = f.askGit(ctx, repo.root)
		now.asked = time.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.repos) >= maxRemembered {
		clear(f.repos)
	}
	f.repos[repo.root] = now
	return now
}

// cleanRemote takes user, password, query and fragment out of a remote: they
// hold tokens. What it does not understand it leaves out.
func cleanRemote(s string) string {
	s = strings.TrimSpace(s)
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		rest, _, _ = strings.Cut(rest, "#")
		rest, _, _ = strings.Cut(rest, "?")
		host, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		return clip(scheme + "://" + host + "/" + path)
	}
	if strings.Contains(s, "::") { // a remote helper: the rest may be a command
		return ""
	}
	if user, rest, ok := strings.Cut(s, "@"); ok && !strings.Contains(user, "/") { // user@host:path
		s = rest
	}
	return clip(s)
}
