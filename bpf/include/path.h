// The path of a file or directory, walked from its dentry up over mount points (fs/d_path.c: prepend_path).

#define COMPONENTS_MAX 40
#define NAME_ROOM 128

// Appends the names from the leaf to the root to `to` at *used, each with its NUL. User space turns them round. `to` must have BASE_MAX
// bytes behind *used. *used lies in a map, not in a register: else the verifier follows each of its possible values. Adds `cut` to
// *flags when names are missing: too many of them, too long, or unreadable.
static __always_inline void walk(u8 *to, u32 *used, u64 mnt, u64 dentry, u32 *flags, u32 cut) {
#pragma clang loop unroll(disable)
  for (int i = 0; i < COMPONENTS_MAX; i++) {
    u64 parent = read64(dentry + DENTRY_D_PARENT);
    if (dentry == read64(mnt + VFSMOUNT_MNT_ROOT)) {
      u64 mount = mnt - MOUNT_MNT;
      u64 above = read64(mount + MOUNT_MNT_PARENT);
      if (above == mount || !above) {
        if (*used) return;
        mnt = 0; // a detached mount's root, or /: its name inside the file system is all there is
        goto name;
      }
      dentry = read64(mount + MOUNT_MNT_MOUNTPOINT);
      mnt = above + MOUNT_MNT;
      continue;
    }
  name:;
    u64 at = bounded(*used, 511);
    if (dentry == parent && at) return; // the root; a memfd or a pipe has no other name than its own dentry's
    if (at > BASE_MAX - NAME_ROOM) break;
    long n = bpf_probe_read_kernel_str(to + at, NAME_ROOM, (void *)read64(dentry + DENTRY_D_NAME + QSTR_NAME));
    if (n <= 0) break;
    if (n == NAME_ROOM) *flags |= cut;
    *used = at + n;
    if (dentry == parent) return;
    dentry = parent;
  }
  *flags |= cut;
}

// The path that a struct path in the kernel's memory names.
static __always_inline void walk_from(u8 *to, u32 *used, u64 path, u32 *flags, u32 cut) {
  walk(to, used, read64(path + PATH_MNT), read64(path + PATH_DENTRY), flags, cut);
}

static __always_inline u64 working_directory(void) { return read64(current_task() + TASK_STRUCT_FS) + FS_STRUCT_PWD; }

// Sets cursor->fd to the descriptor in `/proc/self/fd/N` or `/proc/thread-self/fd/N`, -1 for any other path. `path` is aligned to 8 and
// has 32 readable bytes.
static __always_inline void read_proc_fd(const u8 *path, struct cursor *cursor) {
  const u64 *words = (const u64 *)path;
  u32 at = 0;
  if (words[0] == WORD('/', 'p', 'r', 'o', 'c', '/', 's', 'e') &&
      words[1] << 16 == WORD(0, 0, 'l', 'f', '/', 'f', 'd', '/'))
    at = 14;
  if (words[0] == WORD('/', 'p', 'r', 'o', 'c', '/', 't', 'h') &&
      words[1] == WORD('r', 'e', 'a', 'd', '-', 's', 'e', 'l') &&
      words[2] << 24 == WORD(0, 0, 0, 'f', '/', 'f', 'd', '/'))
    at = 21;
  cursor->fd = -1;
  if (!at) return;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < 7; i++) {
    asm volatile("" ::: "memory"); // keeps the number in memory: see struct cursor
    u8 digit = path[(at + i) & 31] - '0';
    if (digit > 9) return;
    s64 fd = cursor->fd;
    cursor->fd = fd < 0 ? digit : fd * 10 + digit;
  }
}
