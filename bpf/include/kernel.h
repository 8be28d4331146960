// Reads of kernel structs, by offsets from the running kernel's BTF.

static __always_inline u64 read64(u64 address) {
  u64 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
  return value;
}

static __always_inline u32 read32(u64 address) {
  u32 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
  return value;
}

static __always_inline u64 current_task(void) { return bpf_get_current_task(); }

static __always_inline u64 id_of(u64 cgroup) { return read64(read64(cgroup + CGROUP_KN) + KERNFS_NODE_ID); }

// Pods are looked for in one hierarchy: v2 (id 0), or on a host that has none that of a v1 controller, PODS_SUBSYS.
#ifdef PODS_SUBSYS
#define PODS_CGROUP(read, css_set) read(read((css_set) + CSS_SET_SUBSYS + 8 * PODS_SUBSYS) + CGROUP_SUBSYS_STATE_CGROUP)
#else
#define PODS_HIERARCHY 0
#define PODS_CGROUP(read, css_set) read((css_set) + CSS_SET_DFL_CGRP)
#endif

static __always_inline u64 pods_cgroup_of(u64 task) { return PODS_CGROUP(read64, read64(task + TASK_STRUCT_CGROUPS)); }

// The running task, for what every system call and context switch needs. Where containers are counted its pointer is a typed one (since
// 5.11): the verifier checks what is loaded by it against BTF, and no load is a call of a helper, each of which costs a fifth of an empty
// program.
#ifdef COUNT_LIFE
#define LOAD(type, address) (*(type *)(address))
#define LOAD64(address) LOAD(u64, address)

static __always_inline u64 own_task(void) { return (u64)bpf_get_current_task_btf(); }

static __always_inline u32 own_thread_id(u64 self) { return LOAD(u32, self + TASK_STRUCT_PID); }

static __always_inline u32 own_process_id(u64 self) { return LOAD(u32, self + TASK_STRUCT_TGID); }

static __always_inline u64 own_cgroup_id(u64 self) {
  u64 cgroup = PODS_CGROUP(LOAD64, LOAD(u64, self + TASK_STRUCT_CGROUPS));
  return LOAD(u64, LOAD(u64, cgroup + CGROUP_KN) + KERNFS_NODE_ID);
}

static __always_inline bool own_call_is_compat(u64 self) {
#if defined(TARGET_x86_64)
  return LOAD(u32, self + TASK_STRUCT_THREAD_INFO + THREAD_INFO_STATUS) & 2; // TS_COMPAT
#else
  return LOAD(u64, self + TASK_STRUCT_THREAD_INFO + THREAD_INFO_FLAGS) & (1 << 22); // TIF_32BIT
#endif
}
#else
static __always_inline u64 own_task(void) { return bpf_get_current_pid_tgid(); }

static __always_inline u32 own_thread_id(u64 self) { return self; }

static __always_inline u32 own_process_id(u64 self) { return self >> 32; }

static __always_inline u64 own_cgroup_id(u64 self) {
#ifdef PODS_SUBSYS
  return id_of(pods_cgroup_of(current_task()));
#else
  return bpf_get_current_cgroup_id();
#endif
}

static __always_inline bool own_call_is_compat(u64 self) {
#if defined(TARGET_x86_64)
  return read32(current_task() + TASK_STRUCT_THREAD_INFO + THREAD_INFO_STATUS) & 2; // TS_COMPAT
#else
  return read64(current_task() + TASK_STRUCT_THREAD_INFO + THREAD_INFO_FLAGS) & (1 << 22); // TIF_32BIT
#endif
}
#endif

// 32-bit and x32 calls use other number tables.
static __always_inline bool is_compat(u64 self, u64 nr) {
#if defined(TARGET_x86_64)
  if (nr & 0x40000000) return true;
#endif
  return own_call_is_compat(self);
}

// The process id in the task's own PID namespace (struct pid: level, numbers[]).
static __always_inline u32 vpid_of(u64 task) {
  u64 pid = read64(task + TASK_STRUCT_THREAD_PID);
  u32 level = read32(pid + PID_LEVEL);
  if (level > 31) return 0;
  return read32(pid + PID_NUMBERS + level * UPID_SIZE + UPID_NR);
}

static __always_inline u32 inode_of(u64 proxy, u32 member, u32 ns) {
  return read32(read64(proxy + member) + ns + NS_COMMON_INUM);
}

// The inode numbers of the task's namespaces of those kinds that the CLONE_NEW* flags name.
static __always_inline void read_namespaces(u64 task, u64 kinds, u32 *inodes) {
  u64 proxy = read64(task + TASK_STRUCT_NSPROXY);
  if (!proxy) return;
  if (kinds & CLONE_NEWNS) inodes[0] = inode_of(proxy, NSPROXY_MNT_NS, MNT_NAMESPACE_NS);
  if (kinds & CLONE_NEWUTS) inodes[1] = inode_of(proxy, NSPROXY_UTS_NS, UTS_NAMESPACE_NS);
  if (kinds & CLONE_NEWIPC) inodes[2] = inode_of(proxy, NSPROXY_IPC_NS, IPC_NAMESPACE_NS);
  if (kinds & CLONE_NEWPID) inodes[3] = inode_of(proxy, NSPROXY_PID_NS_FOR_CHILDREN, PID_NAMESPACE_NS);
  if (kinds & CLONE_NEWNET) inodes[4] = inode_of(proxy, NSPROXY_NET_NS, NET_NS);
  if (kinds & CLONE_NEWCGROUP) inodes[5] = inode_of(proxy, NSPROXY_CGROUP_NS, CGROUP_NAMESPACE_NS);
#ifdef NSPROXY_TIME_NS_FOR_CHILDREN
  if (kinds & CLONE_NEWTIME) inodes[6] = inode_of(proxy, NSPROXY_TIME_NS_FOR_CHILDREN, TIME_NAMESPACE_NS);
#endif
  if (kinds & CLONE_NEWUSER)
    inodes[7] = read32(read64(read64(task + TASK_STRUCT_CRED) + CRED_USER_NS) + USER_NAMESPACE_NS + NS_COMMON_INUM);
}

// As wait(2) tells it, of a process whose last thread ends (kernel/exit.c: wait_task_zombie).
static __always_inline u32 exit_status_of(u64 task) {
  u64 signal = read64(task + TASK_STRUCT_SIGNAL);
  if (read32(signal + SIGNAL_STRUCT_FLAGS) & 4)
    return read32(signal + SIGNAL_STRUCT_GROUP_EXIT_CODE); // SIGNAL_GROUP_EXIT
  return read32(read64(task + TASK_STRUCT_GROUP_LEADER) + TASK_STRUCT_EXIT_CODE);
}

// A descriptor is an int: what a register holds above it does not count.
static __always_inline u64 file_of(u32 fd) {
  u64 table = read64(read64(current_task() + TASK_STRUCT_FILES) + FILES_STRUCT_FDT);
  if (!table || fd >= read32(table + FDTABLE_MAX_FDS)) return 0;
  return read64(read64(table + FDTABLE_FD) + (u64)fd * 8);
}

// Which file system a file is of (include/uapi/linux/magic.h).
static __always_inline u64 magic_of(u64 file) {
  return read64(read64(read64(file + FILE_F_INODE) + INODE_I_SB) + SUPER_BLOCK_S_MAGIC);
}

// CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC: runc writes by descriptors opened relative to a directory, so no path tells, the superblock
// does.
static __always_inline bool is_cgroup_file(u64 file) {
  u64 magic = magic_of(file);
  return magic == 0x27e0eb || magic == 0x63677270;
}
