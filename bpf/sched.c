// How long does a container wait for a CPU, and how does it leave it? Told when a thread leaves its CPU: by then the kernel's own counters
// have its wait before that (kernel/sched/stats.h: sched_info_arrive) and this switch (kernel/sched/core.c: __schedule).
#ifdef COUNT_SCHED

#define UNKNOWN (~0ULL)
#define TASK_DEAD 0x80 // include/linux/sched.h

// Since its birth a thread's counters are known to us; of one that was there before, only from now on.
static __always_inline u64 waited_before(u64 self) {
  return LOAD(u64, self + TASK_STRUCT_SCHED_INFO + SCHED_INFO_PCOUNT) == 1 ? 0 : UNKNOWN;
}

static __always_inline struct run *run_of(u64 self, u32 tid) {
  u32 at = tid & (RUNS_MAX - 1);
  struct run *run = runs.lookup(&at);
  if (!run) return NULL;
  if (run->thread >> 32 == tid) return run;
  struct run *other = more_runs.lookup(&tid); // its place was another's before
  if (other) return other;
  if (!__sync_val_compare_and_swap(&run->thread, 0, (u64)tid << 32)) {
    run->waited_ns = waited_before(self);
    return run;
  }
  struct run fresh = {.thread = (u64)tid << 32, .waited_ns = waited_before(self)};
  if (more_runs.update(&tid, &fresh)) MISS(waits);
  return more_runs.lookup(&tid);
}

static __always_inline void forget_run(struct run *run, u32 tid) {
  u32 at = tid & (RUNS_MAX - 1);
  if (runs.lookup(&at) == run)
    run->thread = 0;
  else
    more_runs.delete(&tid);
}

// sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...), in prev.
int on_switch(struct bpf_raw_tracepoint_args *ctx) {
  u64 self = own_task();
  u32 slot = own_slot(self);
  struct life *life = life_of(slot);
  if (!life) return 0;
  u32 tid = own_thread_id(self), state = LOAD(u32, self + TASK_STRUCT_STATE);
  bool is_voluntary = !ctx->args[0] && state;
  struct run *run = run_of(self, tid);
  if (run) {
    u64 waited_ns = LOAD(u64, self + TASK_STRUCT_SCHED_INFO + SCHED_INFO_RUN_DELAY);
    u64 thread = (u64)tid << 32 | (u32)LOAD(u64, self + TASK_STRUCT_NVCSW);
    if (run->waited_ns != UNKNOWN) {
      u64 wait_ns = waited_ns - run->waited_ns;
      u32 bucket = wait_bucket(wait_ns);
      is_voluntary = thread != run->thread;
      __sync_fetch_and_add(&life->run_queue_ns, wait_ns);
      if (bucket <= WAIT_BOUNDS) __sync_fetch_and_add(&life->run_queue[bucket], 1);
    }
    run->thread = thread;
    run->waited_ns = waited_ns;
    if (state & TASK_DEAD) forget_run(run, tid);
  }
  __sync_fetch_and_add(is_voluntary ? &life->voluntary_switches : &life->involuntary_switches, 1);
  return 0;
}

#endif
