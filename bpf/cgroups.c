// Which cgroups are pods'? Taken from any task: with systemd's driver PID 1 makes and attaches them. Only one hierarchy counts.

static __always_inline bool is_of_pods(u64 cgroup) {
  return read32(read64(cgroup + CGROUP_ROOT) + CGROUP_ROOT_HIERARCHY_ID) == PODS_HIERARCHY;
}

static __always_inline bool is_hex(u8 c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

#define NAME_MAX_READ 96

// Whether a directory's name is a pod's: `pod<uid>` or `...-pod<uid>.slice`. Eight hex digits suffice here, user space parses it wholly.
static __always_inline bool is_pod_name(const u8 *name, struct cursor *cursor) {
  cursor->state =
      1; // 0: not at a possible begin; 1: at it; 2..4: after p, o, d; 5..12: after that many less four hex digits
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < NAME_MAX_READ; i++) {
    asm volatile("" ::: "memory"); // keeps the state in memory: see struct cursor
    u8 c = name[i];
    u32 state = cursor->state;
    if (!c || state == 12) break;
    u32 next = c == '-';
    if (state == 1 && c == 'p') next = 2;
    if (state == 2 && c == 'o') next = 3;
    if (state == 3 && c == 'd') next = 4;
    if (state >= 4 && is_hex(c)) next = state + 1;
    cursor->state = next;
  }
  return cursor->state == 12;
}

static __always_inline void report_cgroup(u32 kind, u64 id, const char *path, u32 pid, bool wake) {
  struct record *r = new_record(kind);
  if (!r) return;
  if (pid) r->pid = pid;
  r->cgroup_id = id;
  long n = bpf_probe_read_kernel_str(r->payload, TARGET_MAX * 2, path);
  if (n <= 0 || n > TARGET_MAX * 2) return;
  r->lengths[0] = n;
  if (n == TARGET_MAX * 2) r->flags |= CUT(0);
  send(r, n, wake);
}

// cgroup_mkdir(struct cgroup *cgrp, const char *path)
int on_cgroup_mkdir(struct bpf_raw_tracepoint_args *ctx) {
  u64 cgroup = ctx->args[0];
  if (!is_of_pods(cgroup)) return 0;
  u64 id = id_of(cgroup);
  u64 parent = read64(cgroup + CGROUP_SELF + CGROUP_SUBSYS_STATE_PARENT);
  u64 parent_id = parent ? id_of(parent - CGROUP_SELF) : 0;
  u32 level = 0, *above = pod_cgroups.lookup(&parent_id);
  bool wake = true; // whose pod and container this is should be known at once; what is made inside them can wait
  if (above) {
    level = 2;
    wake = *above == 1;
    give_slot(id, parent_id, wake);
    if (wake) begin_throttling(id);
  } else {
    struct record *r = new_record(CGROUP_MKDIR);
    struct cursor *cursor = new_cursor();
    if (!r || !cursor) return 0;
    __builtin_memset(r->payload, 0, NAME_MAX_READ);
    bpf_probe_read_kernel_str(r->payload, NAME_MAX_READ, (void *)read64(read64(cgroup + CGROUP_KN) + KERNFS_NODE_NAME));
    if (is_pod_name(r->payload, cursor)) level = 1;
    if (level) begin_throttling(id);
  }
  if (!level) return 0;
  if (pod_cgroups.update(&id, &level)) COUNT(lost_processes);
  report_cgroup(CGROUP_MKDIR, id, (const char *)ctx->args[1], 0, wake);
  return 0;
}

// cgroup_rmdir(struct cgroup *cgrp, const char *path)
int on_cgroup_rmdir(struct bpf_raw_tracepoint_args *ctx) {
  u64 cgroup = ctx->args[0];
  if (!is_of_pods(cgroup)) return 0;
  u64 id = id_of(cgroup);
  take_slot(id);
  if (!pod_cgroups.lookup(&id)) return 0;
  pod_cgroups.delete(&id);
  end_network(id);
  end_throttling(id);
  report_cgroup(CGROUP_RMDIR, id, (const char *)ctx->args[1], 0, false);
  return 0;
}

// cgroup_attach_task(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)
int on_cgroup_attach_task(struct bpf_raw_tracepoint_args *ctx) {
  u64 cgroup = ctx->args[0];
  if (!is_of_pods(cgroup)) return 0;
  u64 id = id_of(cgroup);
  if (!pod_cgroups.lookup(&id)) return 0;
  report_cgroup(CGROUP_ATTACH, id, (const char *)ctx->args[1], read32(ctx->args[2] + TASK_STRUCT_TGID), false);
  return 0;
}
