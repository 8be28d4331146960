// Which daemons are there already? Asked of the kernel's own table of processes, for an agent whose /proc does not show them by the
// kernel's ids: that of another PID namespace.
//
// struct pid_namespace.idr is a tree of struct pid by id (kernel/pid.c: alloc_pid; lib/radix-tree.c, include/linux/xarray.h).

#define CHUNK_SHIFT 6 // XA_CHUNK_SHIFT
#define CHUNK (1 << CHUNK_SHIFT)
#define TREE_DEPTH 4 // PID_MAX_LIMIT is 2^22
#define FOUND_SHIFT 24

static __always_inline u32 kind_by_name(u64 leader) {
  struct comm name = {};
  bpf_probe_read_kernel_str(&name, sizeof(name), (void *)(leader + TASK_STRUCT_COMM));
  u32 *found = daemon_names.lookup(&name);
  if (found) return *found;
  // Shims are no names of that table: those that begin later come by fork and hand-over.
  u64 head = *(u64 *)name.name, rest = *(u64 *)(name.name + 8);
  bool is_shim =
      head == WORD('c', 'o', 'n', 't', 'a', 'i', 'n', 'e') && rest == WORD('r', 'd', '-', 's', 'h', 'i', 'm', 0);
  return is_shim ? RUNTIME_DAEMON : 0;
}

// Makes the task's process a daemon if it is one, and watches the task. Tells whether the process was not one before.
static __always_inline bool learn_task(u64 task) {
  u64 leader = read64(task + TASK_STRUCT_GROUP_LEADER);
  if (!read64(leader + TASK_STRUCT_MM)) return false; // a kernel thread, or ended
  u32 kind = kind_by_name(leader);
  u64 cgroup = id_of(pods_cgroup_of(leader));
  if (!kind || pod_cgroups.lookup(&cgroup)) return false;
  u32 tid = read32(task + TASK_STRUCT_PID), pid = read32(task + TASK_STRUCT_TGID);
  struct process new = {.role = DAEMON, .daemon_kind = kind};
  struct process *known = processes.lookup(&pid);
  if (known && known->role != DAEMON) return false;
  if (!known && processes.update(&pid, &new)) COUNT(lost_processes);
  watch(tid);
  return !known;
}

// Run by the agent: looks at the ids from args[0] to the next multiple of 64. Returns the id to go on with, 0 at the end, and how many
// daemons were found, shifted.
int find_daemons(struct bpf_raw_tracepoint_args *ctx) {
  u64 first = ctx->args[0];
  u64 initial = read64(read64(current_task() + TASK_STRUCT_THREAD_PID) + PID_NUMBERS + UPID_NS);
  u64 entry = read64(initial + PID_NAMESPACE_IDR + IDR_IDR_RT + XARRAY_XA_HEAD), slots = 0;
  u32 shift = 0, found = 0;
#pragma clang loop unroll(full)
  for (int level = 0; level < TREE_DEPTH; level++) {
    if ((entry & 3) != 2) return ((first >> shift) + 1) << shift; // nothing below: on to the next branch
    shift = read32(entry - 2 + XA_NODE_SHIFT) & 31;               // u8
    if (!level && first >> shift >= CHUNK) return 0;
    slots = entry - 2 + XA_NODE_SLOTS;
    if (!shift) break;
    entry = read64(slots + ((first >> shift) & (CHUNK - 1)) * 8);
  }
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < CHUNK; i++) {
    u64 links = read64(read64(slots + i * 8) + PID_TASKS); // of PIDTYPE_PID, the first
    if (links && learn_task(links - TASK_STRUCT_PID_LINKS)) found++;
  }
  return ((first >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT | found << FOUND_SHIFT;
}
