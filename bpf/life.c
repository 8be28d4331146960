// How many processes does a container begin, execute and end? Called by the programs of lineage.c, exec.c and cgroups.c for what is no
// birth's: the runtime's own tasks in a container's cgroup are not the container's.
#ifdef COUNT_LIFE

// Run by the agent for each container's cgroup that was there before (above: its pod's), and for each cgroup below one.
int adopt_cgroup(struct bpf_raw_tracepoint_args *ctx) {
  give_slot(ctx->args[0], ctx->args[1], ctx->args[2]);
  return 0;
}

#endif

#ifdef COUNT_PROCESSES

// Threads may end at the same time on several CPUs, and each then see that none is left (kernel/exit.c: signal->live falls before the
// tracepoint). Whoever is here first counts.
static __always_inline bool ends_process(u64 task, u32 pid) {
  if (read32(read64(task + TASK_STRUCT_SIGNAL) + SIGNAL_STRUCT_LIVE)) return false;
  u64 process = read64(read64(task + TASK_STRUCT_GROUP_LEADER) + TASK_STRUCT_START_BOOTTIME) ^ (u64)pid << 40;
  u32 at = pid & 1023;
  u64 *last = ended.lookup(&at);
  return last && __sync_lock_test_and_set(last, process) != process;
}

#endif

#ifdef COUNT_LIFE
static __always_inline u64 cgroup_id_of(u64 task) { return id_of(pods_cgroup_of(task)); }
#endif

// In its parent, before it runs. It may be in another cgroup than its parent (clone3: CLONE_INTO_CGROUP).
static __always_inline void task_begins(u64 task, u64 clone_flags) {
#if defined(COUNT_CALLS) || defined(COUNT_PROCESSES)
  u32 slot = slot_of(cgroup_id_of(task));
  if (slot == NO_SLOT) return;
#ifdef COUNT_CALLS
  set_place(read32(task + TASK_STRUCT_PID), IN_CALL); // it returns from its parent's clone
#endif
#ifdef COUNT_PROCESSES
  struct life *life = life_of(slot);
  if (life && !(clone_flags & CLONE_THREAD)) __sync_fetch_and_add(&life->forks, 1);
#endif
#endif
}

static __always_inline void task_executes(u32 pid, u32 old) {
#if defined(COUNT_CALLS) || defined(COUNT_PROCESSES)
  u32 slot = slot_of(own_cgroup_id(own_task()));
  if (slot == NO_SLOT) return;
#ifdef COUNT_CALLS
  if (old != pid) { // it took over the id of a thread that did something else
    set_place(old, UNSEEN);
    set_place(pid, IN_CALL);
  }
#ifdef TIMED_CALLS
  struct begun *call = old == pid ? NULL : begun.lookup(&old);
  if (call) {
    struct begun moved = *call;
    begun.update(&pid, &moved);
    begun.delete(&old);
    set_place(pid, IN_NOTED_CALL);
  }
#endif
#endif
#ifdef COUNT_PROCESSES
  struct life *life = life_of(slot);
  if (life) __sync_fetch_and_add(&life->execs, 1);
#endif
#endif
}

static __always_inline void task_ends(u32 tid, u32 pid) {
#ifdef COUNT_CALLS
  set_place(tid, UNSEEN);
#ifdef TIMED_CALLS
  begun.delete(&tid);
#endif
#endif
#ifdef COUNT_PROCESSES
  struct life *life = life_of(slot_of(own_cgroup_id(own_task())));
  if (life && ends_process(current_task(), pid)) __sync_fetch_and_add(&life->exits, 1);
#endif
}
