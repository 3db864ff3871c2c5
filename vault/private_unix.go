//go:build unix

package vault

import (
	"io/fs"
	"os"
	"syscall"
)

// exposed says how somebody else could know or replace the file's content, and
// the fix, with %s for its path.
func exposed(info fs.FileInfo) (why, fix string) {
	if info.Mode().Perm()&0o077 != 0 {
		return "can be read or changed by others", "chmod 600 %s"
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return "belongs to another user", "give it to the user who runs the server: chown %s"
	}
	return "", ""
}
