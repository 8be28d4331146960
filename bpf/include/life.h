// What is counted for each slot, and where a thread of a container is: in its program or in a call.
#ifdef COUNT_LIFE

#define WAIT_BOUNDS 19 // 1 us, 2 us, 4 us, ... 2^18 us
#define NUMBERS 512    // system calls: what has a number from here on has no name

// One row for each slot and shard: CPUs that share a shard add to the same words, and atomically.
struct life {
  u64 voluntary_switches;
  u64 involuntary_switches;
  u64 run_queue_ns;
  u64 run_queue[WAIT_BOUNDS + 1];
  u64 forks;
  u64 execs;
  u64 exits;
  u64 opens;        // with OPEN_PATHS those that found no place in `opened`
  u64 errors;       // those that found no place in `syscall_errors`
  u64 birth_calls;  // of the runtime's own tasks, before the container's program runs
  u64 alignment[3]; // of rows to cache lines
};

BPF_F_TABLE("array", u32, struct life, lives, SLOTS_MAX *LIFE_SHARDS, BPF_F_MMAPABLE);

static __always_inline struct life *life_of(u32 slot) {
  u32 row = slot * LIFE_SHARDS + (bpf_get_smp_processor_id() & (LIFE_SHARDS - 1));
  return slot == NO_SLOT ? NULL : lives.lookup(&row);
}

static __always_inline u32 wait_bucket(u64 ns) {
  u32 bucket = 0;
#pragma unroll
  for (int i = 0; i < WAIT_BOUNDS; i++)
    bucket += ns > 1000ULL << i;
  return bucket;
}

#endif

#ifdef COUNT_PROCESSES
BPF_ARRAY(ended, u64, 1024); // processes, by their id: who ended last
#endif

#ifdef FUNCTIONS
struct function_calls {
  u64 calls;
  u64 sum_ns;
  u64 counts[WAIT_BOUNDS + 1];
};

struct function_begun {
  u64 since_ns;
  u32 row;
  u32 depth; // further calls of itself that have not returned
};

BPF_F_TABLE("array", u32, struct function_calls, function_calls, SLOTS_MAX *FUNCTIONS, BPF_F_MMAPABLE);
// By thread and function. Some functions never return: the least used make room.
BPF_TABLE("lru_hash", u64, struct function_begun, function_begun, BEGUN_MAX);
#endif

#ifdef COUNT_SCHED
// What a thread's counters were when it last left a CPU.
struct run {
  u64 thread; // its id << 32 | voluntary switches
  u64 waited_ns;
};

BPF_ARRAY(runs, struct run, RUNS_MAX);               // direct-mapped by thread id
BPF_HASH(more_runs, u32, struct run, MORE_RUNS_MAX); // those whose place another one has
#endif

#ifdef COUNT_CALLS

enum place { UNSEEN = 0, IN_PROGRAM, IN_CALL, IN_NOTED_CALL }; // noted: something is to be done when it returns

// A byte for each thread id, 4 Mi, the kernel's PID_MAX_LIMIT. Written by the thread itself, and by its parent before it runs.
struct places {
  u8 of[64];
};

// What a number means, for 64-bit and behind them 32-bit calls; written by user space before anything is attached.
struct call_kind {
  u16 column;
  u8 flags;
  u8 timed; // which row of `durations`
};

#define OPENS 1        // a file, by a path
#define PATH_IS_LATE 2 // its path is the second argument
#define TIMED 4

BPF_ARRAY(places, struct places, 65536);
BPF_ARRAY(call_kinds, struct call_kind, 2 * NUMBERS);

static __always_inline u8 *place_of(u32 tid) {
  u32 at = tid >> 6;
  struct places *found = places.lookup(&at);
  return found ? &found->of[bounded(tid, 63)] : NULL;
}

static __always_inline void set_place(u32 tid, u8 place) {
  u8 *at = place_of(tid);
  if (at) *at = place;
}

#ifdef COUNT_SYSCALLS
struct calls {
  u64 by_column[COLUMNS]; // the last: all the rest
};

BPF_F_TABLE("array", u32, struct calls, syscall_counts, SLOTS_MAX *CALL_SHARDS, BPF_F_MMAPABLE);
#endif

#ifdef SYSCALL_ERRORS
struct error_kind {
  u32 slot;
  u16 column;
  u16 error;
};

BPF_HASH(syscall_errors, struct error_kind, u64, ERRORS_MAX);
#endif

#ifdef TIMED_CALLS
struct begun {
  u64 since_ns;
  u64 timed;
};

struct duration {
  u64 sum_ns;
  u64 counts[WAIT_BOUNDS + 1];
};

BPF_HASH(begun, u32, struct begun, BEGUN_MAX);
BPF_F_TABLE("array", u32, struct duration, durations, SLOTS_MAX *TIMED_CALLS, BPF_F_MMAPABLE);
#endif

#ifdef OPEN_PATHS
#define PREFIX_MAX 60

struct path_prefix {
  u32 slot;
  char text[PREFIX_MAX];
};

BPF_HASH(opened, struct path_prefix, u64, PATHS_MAX);
BPF_PERCPU_ARRAY(prefixes, struct path_prefix, 1);
#endif

#endif
