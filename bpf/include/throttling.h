// What is kept of each pod's and container's cgroup whose CPU limit was used up.
#ifdef WATCH_THROTTLING

#define THROTTLED_BOUNDS 19 // 64 us, 128 us, ... 2^24 us: bandwidth is handed out in periods of mostly 100 ms
#define LAST_INTERVALS 8    // a power of two
#define INTERVAL_WORDS 4    // number, start, length, CPU

// One for each cgroup. Several CPUs may end an interval of it at once: the number, counted from 1 and written last, tells whoever reads
// the others that they belong together.
struct throttling {
  u64 intervals;
  u64 sum_ns;
  u64 counts[THROTTLED_BOUNDS + 1];
  u64 is_told; // it was seen made: the first intervals are told one by one, for its birth
  u64 is_gone; // it was removed: what was counted is all
  u64 last[LAST_INTERVALS * INTERVAL_WORDS];
};

struct throttling_losses {
  u64 sent; // records handed to the ring
  u64 lost; // that it did not take
  u64 no_room;
};

// What a CPU is just ending.
struct unthrottling {
  u64 cfs_rq;
  u64 since; // on the CPU's own clock
};

BPF_PERCPU_ARRAY(unthrottlings, struct unthrottling, 1);
#ifdef THROTTLE_STACKS
// Who ran when the limit was used up, and where: stacks by their id, negative where there was no room.
struct stop {
  u64 cgroup_id;
  u32 pid;
  s32 kernel;
  s32 user;
  u32 pad;
};

BPF_HASH(stops, struct stop, u64, STOPS_MAX);
BPF_TABLE("stacktrace", int, struct bpf_stacktrace, stop_stacks, STACKS_MAX);
#endif

BPF_HASH(throttlings, u64, struct throttling, THROTTLED_MAX); // by the cgroup's id
BPF_ARRAY(throttling_losses, struct throttling_losses, 1);
BPF_ARRAY(no_throttling, struct throttling, 1); // too large for the stack

static __always_inline struct throttling *throttling_of(u64 cgroup_id) {
  u32 zero = 0;
  struct throttling *found = throttlings.lookup(&cgroup_id), *fresh = no_throttling.lookup(&zero);
  if (found || !fresh) return found;
  throttlings.update(&cgroup_id, fresh);
  return throttlings.lookup(&cgroup_id);
}

// A pod's cgroup was made, or a container's.
static __always_inline void begin_throttling(u64 cgroup_id) {
  struct throttling *of = throttling_of(cgroup_id);
  if (of) of->is_told = 1;
}

static __always_inline void end_throttling(u64 cgroup_id) {
#ifdef KEEP_THROTTLING // user space forgets it once it has the last counts
  struct throttling *of = throttlings.lookup(&cgroup_id);
  if (of) of->is_gone = 1;
#else
  throttlings.delete(&cgroup_id);
#endif
}

#else
static __always_inline void begin_throttling(u64 cgroup_id) {}
static __always_inline void end_throttling(u64 cgroup_id) {}
#endif
