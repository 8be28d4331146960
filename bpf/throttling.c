// When do a pod's or container's tasks stand still because its CPU limit is used up? Told when the kernel ends it on a CPU (kernel/sched/
// fair.c: unthrottle_cfs_rq), by the clock and the fields by which the kernel itself counts: what is summed here is what cpu.stat says.
#ifdef WATCH_THROTTLING

// THROTTLED_TOLD of each cgroup that was seen made are told: a birth's, without filling the ring for as long as it lives.
#define LEVELS_MAX 16 // of cgroups below a container's

// Whose is it? A cgroup below a container's is the container's; 0: no pod's.
static __always_inline u64 throttled_id(u64 cgroup) {
  u64 id = id_of(cgroup);
  u32 *level = pod_cgroups.lookup(&id);
  if (!level) return 0;
  if (*level == 1) return id;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < LEVELS_MAX; i++) {
    cgroup = read64(cgroup + CGROUP_SELF + CGROUP_SUBSYS_STATE_PARENT) - CGROUP_SELF;
    u64 above = id_of(cgroup);
    level = pod_cgroups.lookup(&above);
    if (!level) return 0;
    if (*level == 1) return id;
    id = above;
  }
  return 0;
}

static __always_inline u64 throttled_cgroup(u64 cfs_rq) {
  u64 cgroup = read64(read64(cfs_rq + CFS_RQ_TG) + TASK_GROUP_CSS + CGROUP_SUBSYS_STATE_CGROUP);
  return cgroup && is_of_pods(cgroup) ? throttled_id(cgroup) : 0;
}

// Not by new_record() and send(): this may interrupt a program that is just filling its record.
static __always_inline void tell_interval(u64 cgroup_id, u64 start_ns, u64 length_ns, u64 cpu, u64 number,
                                          struct throttling_losses *losses) {
  u64 header[offsetof(struct record, payload) / 8] = {};
  struct record *r = (struct record *)header;
  r->kind = THROTTLED;
  r->cgroup_id = cgroup_id;
  r->start_ns = start_ns;
  r->end_ns = start_ns + length_ns;
  r->arguments[0] = cpu;
  r->arguments[1] = number;
  __sync_fetch_and_add(&losses->sent, 1);
  if (records.ringbuf_output(r, sizeof(header), BPF_RB_NO_WAKEUP)) __sync_fetch_and_add(&losses->lost, 1);
}

static __always_inline void count_interval(u64 cgroup_id, u64 start_ns, u64 length_ns, u64 cpu) {
  u32 zero = 0, bucket = 0;
  struct throttling_losses *losses = throttling_losses.lookup(&zero);
  if (!losses) return;
  struct throttling *of = throttling_of(cgroup_id);
  if (!of) {
    __sync_fetch_and_add(&losses->no_room, 1);
    return;
  }
#pragma unroll
  for (int i = 0; i < THROTTLED_BOUNDS; i++)
    bucket += length_ns > 64000ULL << i;
  u64 number = __sync_fetch_and_add(&of->intervals, 1);
  __sync_fetch_and_add(&of->sum_ns, length_ns);
  if (bucket <= THROTTLED_BOUNDS) __sync_fetch_and_add(&of->counts[bucket], 1);
  u64 at = bounded(number, LAST_INTERVALS - 1) * INTERVAL_WORDS;
  of->last[at] = 0;
  of->last[at + 1] = start_ns;
  of->last[at + 2] = length_ns;
  of->last[at + 3] = cpu;
  of->last[at] = number + 1;
  if (of->is_told && number < THROTTLED_TOLD) tell_interval(cgroup_id, start_ns, length_ns, cpu, number, losses);
}

// Both at entry and at return the CPU's run queue is locked, and interrupts are off: nothing comes in between on the CPU that runs this.
static __always_inline int begin_unthrottling(u64 cfs_rq) {
  u32 zero = 0;
  struct unthrottling *own = unthrottlings.lookup(&zero);
  if (!own) return 0;
  // Since 6.6 the kernel's time begins with the first task that wants to run, and is 0 until then.
  own->since = read64(cfs_rq + CFS_RQ_THROTTLED_CLOCK);
  own->cfs_rq = own->since ? cfs_rq : 0;
  return 0;
}

int unthrottle_fentry(struct bpf_raw_tracepoint_args *ctx) { return begin_unthrottling(ctx->args[0]); }

int unthrottle_kprobe(struct bpf_raw_tracepoint_args *ctx) { return begin_unthrottling(ctx->args[FIRST_ARGUMENT]); }

int unthrottle_return(struct bpf_raw_tracepoint_args *ctx) {
  u32 zero = 0;
  struct unthrottling *own = unthrottlings.lookup(&zero);
  u64 cfs_rq = own ? own->cfs_rq : 0;
  if (!cfs_rq) return 0;
  own->cfs_rq = 0;
  if (read32(cfs_rq + CFS_RQ_THROTTLED)) return 0; // it goes on: since 6.18 there may be nothing to hand out
  u64 rq = read64(cfs_rq + CFS_RQ_RQ), length_ns = read64(rq + RQ_CLOCK) - own->since;
  u64 cgroup_id = throttled_cgroup(cfs_rq);
  if (cgroup_id) count_interval(cgroup_id, bpf_ktime_get_boot_ns() - length_ns, length_ns, read32(rq + RQ_CPU));
  return 0;
}

#endif
