package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// minLandlock is the first version that keeps a file from being truncated
// (Linux 6.2). With less, "denied" would be only half true.
const minLandlock = 3

// The rights that are governed, for files and, added, for folders. What is not
// governed stays free: executing, listing names, device ioctls. So the names
// in a denied folder can be listed; nothing in it can be read, written,
// created, renamed or removed.
const (
	fileRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	dirRights  = fileRights | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
)

// landlockVersion is the kernel's Landlock ABI, 0 without any.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// denial is what Landlock is told: it knows only what is allowed.
type denial struct {
	dirs  []string // allowed with all below them
	files []string // allowed
	// kept are the folders that lead to a denied one. Rights hold for all below
	// a folder, so these can get none: what is in them now is allowed piece by
	// piece, and a name that is new in them is not.
	kept []string
}

// planDenial allows everything there is, except the denied paths: at each
// folder on the way to one, every other entry is allowed as a whole.
func planDenial(deny []string) (denial, error) {
	denied := make([]string, 0, len(deny))
	for _, p := range deny {
		real, err := realPath(p)
		if err != nil {
			return denial{}, err
		}
		if real == "/" {
			return denial{}, errors.New("/ cannot be denied")
		}
		denied = append(denied, real)
	}
	var d denial
	return d, d.descend("/", denied)
}

func (d *denial) descend(dir string, denied []string) error {
	d.kept = append(d.kept, dir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		// A folder that may be passed but not listed (/home with 0711): on we go
		// by name. Its other entries, whose names nobody tells us, stay closed.
		return d.pass(dir, denied)
	}
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			// Rules are about what a path leads to. The link's target is allowed
			// where it stands, or is denied: allowed through the link, it would
			// be open by every path.
		case slices.Contains(denied, path):
		case slices.ContainsFunc(denied, func(p string) bool { return strings.HasPrefix(p, path+"/") }):
			if err := d.descend(path, denied); err != nil {
				return err
			}
		case e.IsDir():
			d.dirs = append(d.dirs, path)
		default:
			d.files = append(d.files, path)
		}
	}
	return nil
}

// pass goes on through a folder that cannot be listed.
func (d *denial) pass(dir string, denied []string) error {
	var next []string
	for _, p := range denied {
		name, deeper, ok := strings.Cut(strings.TrimPrefix(p, dir+"/"), "/")
		if path := filepath.Join(dir, name); ok && deeper != "" && strings.HasPrefix(p, path+"/") && !slices.Contains(next, path) {
			next = append(next, path)
		}
	}
	for _, path := range next {
		if _, err := os.Lstat(path); err != nil {
			continue // not there, or out of reach for the program as well
		}
		if err := d.descend(path, denied); err != nil {
			return err
		}
	}
	return nil
}

// realPath resolves links as far as the path exists: a folder that is made
// later is denied at the place where it will stand. What we may not look into
// is out of the program's reach as well, and is taken by its name.
func realPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	var rest []string
	for {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(append([]string{real}, rest...)...), nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) || abs == "/" {
			return "", err
		}
		rest = append([]string{filepath.Base(abs)}, rest...)
		abs = filepath.Dir(abs)
	}
}

// restrict puts the denial in force for the calling thread and what it
// executes and starts, for good. The thread must be locked, and execute next.
//
// The kernel lets only a privileged thread restrict itself, or one that can
// gain nothing any more: without the privilege no_new_privs is set, and
// set-user-id programs (sudo) gain nothing below here.
func restrict(deny []string) error {
	plan, err := planDenial(deny)
	if err != nil {
		return err
	}
	// Only the first member, which the first version has.
	attr := unix.LandlockRulesetAttr{Handled_access_fs: dirRights}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	for _, d := range plan.dirs {
		if err := allow(ruleset, d, dirRights); err != nil {
			return err
		}
	}
	for _, f := range plan.files {
		if err := allow(ruleset, f, fileRights); err != nil {
			return err
		}
	}
	enforce := func() error {
		if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
			return fmt.Errorf("landlock_restrict_self: %w", errno)
		}
		return nil
	}
	if err := enforce(); !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return enforce()
}

// allow grants rights at path and below. An entry may vanish between the look
// and the rule, and one that is replaced by a link meanwhile is not followed.
func allow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES): // what cannot be reached needs no rule
		return nil
	case err != nil:
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
	default:
		rights &= fileRights // the kernel refuses a folder's rights for a file
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule for %s: %w", path, errno)
	}
	return nil
}

// keptFolders are the folders in which the program cannot make new names,
// without those in which it hardly could anyway.
func keptFolders(deny []string) []string {
	plan, err := planDenial(deny)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(plan.kept, func(dir string) bool { return unix.Access(dir, unix.W_OK) != nil })
}
