package run

import "golang.org/x/sys/unix"

func exeIDOf(st *unix.Stat_t) exeID {
	return exeID{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}
