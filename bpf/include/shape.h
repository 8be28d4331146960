// What a system call is to us: which of its arguments are strings and descriptors, by number of the running architecture.

enum shape {
  PLAIN = 0, // counted, a wait when long
  IDLE,      // the waits of a thread pool: counted, never a wait
  OPENAT,
  WRITE,
  CHROOT,
  DRAWN, // from here on drawn
  CLONE = DRAWN,
  CLONE3,
  UNSHARE,
  SETNS,
  MOUNT,
  UMOUNT,
  PIVOT_ROOT,
  MOVE_MOUNT,
  AT_PATH, // (dfd, path, ...)
  FSOPEN,
  FSCONFIG,
  FSMOUNT,
  EXECVE,
  EXECVEAT,
  OPEN_DRAWN, // openat, openat2 on request
};

#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467 // 6.15; one number on all architectures since 5.1
#endif
#ifndef __NR_futex_wait
#define __NR_futex_wait 455
#endif

static __always_inline u32 shape_of(u64 nr) {
  switch (nr) {
  case __NR_clone:
#ifdef __NR_fork
  case __NR_fork:
  case __NR_vfork:
#endif
    return CLONE;
  case __NR_clone3:
    return CLONE3;
  case __NR_unshare:
    return UNSHARE;
  case __NR_setns:
    return SETNS;
  case __NR_mount:
    return MOUNT;
  case __NR_umount2:
    return UMOUNT;
  case __NR_pivot_root:
    return PIVOT_ROOT;
  case __NR_move_mount:
    return MOVE_MOUNT;
  case __NR_open_tree:
  case __NR_open_tree_attr:
  case __NR_mount_setattr:
    return AT_PATH;
  case __NR_fsopen:
    return FSOPEN;
  case __NR_fsconfig:
    return FSCONFIG;
  case __NR_fsmount:
    return FSMOUNT;
  case __NR_execve:
    return EXECVE;
  case __NR_execveat:
    return EXECVEAT;
  case __NR_openat:
  case __NR_openat2:
#ifdef DRAW_OPENAT
    return OPEN_DRAWN;
#else
    return OPENAT;
#endif
  case __NR_write:
  case __NR_pwrite64:
  case __NR_writev:
  case __NR_pwritev:
  case __NR_pwritev2:
    return WRITE;
  case __NR_chroot:
    return CHROOT;
  case __NR_futex:
  case __NR_futex_waitv:
  case __NR_futex_wait:
#ifdef __NR_epoll_wait
  case __NR_epoll_wait:
#endif
  case __NR_epoll_pwait:
  case __NR_epoll_pwait2:
  case __NR_nanosleep:
  case __NR_clock_nanosleep:
    return IDLE;
  }
  return PLAIN;
}
