// Where was a container when its CPU limit was used up? Counted by process and stack, on request only.
#ifdef THROTTLE_STACKS

// Whoever runs need not be whose limit it is: it may just be waking somebody in a group that has no time left.
static __always_inline bool runs_in(u64 cgroup) {
  u64 own = pods_cgroup_of(current_task());
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < LEVELS_MAX; i++) {
    if (own == cgroup) return true;
    u64 parent = read64(own + CGROUP_SELF + CGROUP_SUBSYS_STATE_PARENT);
    if (!parent) return false;
    own = parent - CGROUP_SELF;
  }
  return false;
}

static __always_inline int count_stop(struct bpf_raw_tracepoint_args *ctx, u64 cfs_rq) {
  u64 cgroup = read64(read64(cfs_rq + CFS_RQ_TG) + TASK_GROUP_CSS + CGROUP_SUBSYS_STATE_CGROUP);
  u64 cgroup_id = throttled_cgroup(cfs_rq), one = 1;
  if (!cgroup_id || !runs_in(cgroup)) return 0;
  struct stop stop = {.cgroup_id = cgroup_id, .pid = bpf_get_current_pid_tgid() >> 32};
  stop.kernel = stop_stacks.get_stackid(ctx, 0);
  stop.user = stop_stacks.get_stackid(ctx, BPF_F_USER_STACK);
  u64 *count = stops.lookup(&stop);
  if (count)
    __sync_fetch_and_add(count, 1);
  else
    stops.update(&stop, &one);
  return 0;
}

int throttle_fentry(struct bpf_raw_tracepoint_args *ctx) { return count_stop(ctx, ctx->args[0]); }

int throttle_kprobe(struct bpf_raw_tracepoint_args *ctx) { return count_stop(ctx, ctx->args[FIRST_ARGUMENT]); }

#endif
