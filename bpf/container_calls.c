// Which calls does a container make, and how do they end? Called by the dispatchers of calls.c for what is no birth's.
#ifdef COUNT_CALLS

// 32-bit calls have another table, of which user space knows what is called the same.
static __always_inline struct call_kind *kind_of(u64 nr, bool is_32_bit) {
  u32 at = nr < NUMBERS ? nr : NUMBERS - 1;
  if (is_32_bit) at += NUMBERS;
  return call_kinds.lookup(&at);
}

static __always_inline void count_by_name(u32 slot, struct call_kind *kind) {
#ifdef COUNT_SYSCALLS
  u32 row = slot * CALL_SHARDS + (bpf_get_smp_processor_id() & (CALL_SHARDS - 1));
  struct calls *calls = syscall_counts.lookup(&row);
  if (calls) __sync_fetch_and_add(&calls->by_column[bounded(kind->column, COLUMNS - 1)], 1);
#endif
}

static __always_inline void time_call(u32 tid, struct call_kind *kind) {
#ifdef TIMED_CALLS
  struct begun call = {.since_ns = bpf_ktime_get_ns(), .timed = kind->timed};
  if (kind->flags & TIMED && begun.update(&tid, &call)) MISS(durations);
#endif
}

static __always_inline void enter_call(u64 self, u32 tid, u64 nr) {
  u32 slot = own_slot(self);
  if (slot == NO_SLOT) return;
  struct call_kind *kind = kind_of(nr, own_call_is_compat(self));
  if (!kind) return;
  count_by_name(slot, kind);
  u8 *place = place_of(tid);
  if (place) *place = kind->flags ? IN_NOTED_CALL : IN_CALL;
  if (kind->flags) time_call(tid, kind);
}

static __always_inline void count_error(u32 slot, struct call_kind *kind, s64 result) {
#ifdef SYSCALL_ERRORS
  struct error_kind key = {.slot = slot, .column = kind->column, .error = -result};
  u64 *count = syscall_errors.lookup(&key);
  struct owner *owner = owners.lookup(&slot);
  if (!count && owner && owner->error_kinds < ERROR_KINDS_MAX) {
    u64 none = 0;
    if (!syscall_errors.insert(&key, &none)) __sync_fetch_and_add(&owner->error_kinds, 1);
    count = syscall_errors.lookup(&key);
  }
  if (count) {
    __sync_fetch_and_add(count, 1);
    return;
  }
  struct life *life = life_of(slot);
  if (life) __sync_fetch_and_add(&life->errors, 1);
#endif
}

#ifdef OPEN_PATHS
// The directory of a path, its first two names at most, and /proc without the process; `.` for a path that is relative. As the program
// wrote it: links are not followed.
static __always_inline struct path_prefix *prefix_of(u32 slot, u64 path) {
  u32 zero = 0;
  struct path_prefix *prefix = prefixes.lookup(&zero);
  struct cursor *cursor = new_cursor();
  if (!prefix || !cursor) return NULL;
  __builtin_memset(prefix, 0, sizeof(*prefix));
  prefix->slot = slot;
  if (bpf_probe_read_user_str(prefix->text, PREFIX_MAX, (void *)path) <= 0) return NULL;
  bool is_proc = *(u32 *)prefix->text == (u32)WORD('/', 'p', 'r', 'o', 0, 0, 0, 0) && prefix->text[4] == 'c';
  cursor->kept = 1;
  cursor->names = prefix->text[0] != '/' ? 0 : is_proc && prefix->text[5] == '/' ? 1 : 2;
#pragma clang loop unroll(disable)
  for (u32 i = 1; i < PREFIX_MAX; i++) {
    asm volatile("" ::: "memory"); // keeps the state in memory: see struct cursor
    if (!cursor->names) break;
    if (prefix->text[i] != '/') continue;
    cursor->kept = i;
    cursor->names--;
  }
#pragma clang loop unroll(disable)
  for (u32 i = 1; i < PREFIX_MAX; i++) {
    asm volatile("" ::: "memory");
    if (i >= cursor->kept) prefix->text[i] = 0;
  }
  if (prefix->text[0] != '/') prefix->text[0] = '.';
  return prefix;
}
#endif

static __always_inline void count_open(u32 slot, struct call_kind *kind, struct registers *r, bool is_32_bit) {
#ifdef COUNT_OPENS
  struct life *life = life_of(slot);
  if (!life) return;
#ifdef OPEN_PATHS
  u64 path = kind->flags & PATH_IS_LATE ? ARG1(r) : ARG0(r);
  if (is_32_bit) path = kind->flags & PATH_IS_LATE ? COMPAT_ARG1(r) : COMPAT_ARG0(r);
  struct path_prefix *key = prefix_of(slot, path);
  u64 *known = key ? opened.lookup(key) : NULL;
  struct owner *owner = owners.lookup(&slot);
  if (key && !known && owner && owner->path_kinds < PATH_KINDS_MAX) {
    u64 none = 0;
    if (!opened.insert(key, &none)) __sync_fetch_and_add(&owner->path_kinds, 1);
    known = opened.lookup(key);
  }
  if (known) {
    __sync_fetch_and_add(known, 1);
    return;
  }
#endif
  __sync_fetch_and_add(&life->opens, 1);
#endif
}

static __always_inline void count_duration(u32 slot, u32 tid) {
#ifdef TIMED_CALLS
  struct begun *call = begun.lookup(&tid);
  if (!call) return;
  u64 took_ns = bpf_ktime_get_ns() - call->since_ns;
  u32 row = slot * TIMED_CALLS + call->timed, bucket = wait_bucket(took_ns);
  begun.delete(&tid);
  struct duration *duration = durations.lookup(&row);
  if (!duration || bucket > WAIT_BOUNDS) return;
  __sync_fetch_and_add(&duration->sum_ns, took_ns);
  __sync_fetch_and_add(&duration->counts[bucket], 1);
#endif
}

// What only some returns need. A call that seccomp refused comes here first: that is before sys_enter (kernel/entry/common.c:
// syscall_trace_enter).
static __always_inline void note_return(struct bpf_raw_tracepoint_args *ctx, u32 tid, u32 place) {
  u64 self = own_task();
  if (place == IN_PROGRAM && LOAD(u32, self + TASK_STRUCT_SECCOMP + SECCOMP_MODE) != 2) return; // SECCOMP_MODE_FILTER
  u32 slot = own_slot(self);
  if (slot == NO_SLOT) return;
  struct registers r;
  read_registers(&r, ctx->args[0]);
  s64 result = ctx->args[1];
  bool is_32_bit = own_call_is_compat(self);
  struct call_kind *kind = kind_of(SYSCALL_NR(&r), is_32_bit);
  if (!kind) return;
  if (place == IN_PROGRAM) count_by_name(slot, kind);
  if (place == IN_NOTED_CALL && kind->flags & OPENS && result >= 0) count_open(slot, kind, &r, is_32_bit);
  if (place == IN_NOTED_CALL) count_duration(slot, tid);
  // What rt_sigreturn leaves in the registers is no result.
  bool has_result = (s32)SYSCALL_NR(&r) >= 0;
  if (has_result && result < 0 && result > -4096) count_error(slot, kind, result); // include/linux/err.h: MAX_ERRNO
}

static __always_inline void leave_call(struct bpf_raw_tracepoint_args *ctx, u32 tid) {
  u8 *at = place_of(tid);
  if (!at || *at == UNSEEN) return;
  u32 place = *at;
  *at = IN_PROGRAM;
#ifdef SYSCALL_ERRORS
  if (place == IN_CALL && (s64)ctx->args[1] >= 0) return;
#else
  if (place == IN_CALL) return;
#endif
  note_return(ctx, tid, place);
}

// A call of the runtime's own task in a container's cgroup, before the container's program runs.
static __always_inline void count_birth_call(u64 self) {
  struct life *life = life_of(own_slot(self));
  if (life) __sync_fetch_and_add(&life->birth_calls, 1);
}

// Its execve returned: from here on the calls are the container's.
static __always_inline void begin_container(u32 tid) { set_place(tid, IN_PROGRAM); }

#else
static __always_inline void begin_container(u32 tid) {}
static __always_inline void enter_call(u64 self, u32 tid, u64 nr) {}
static __always_inline void leave_call(struct bpf_raw_tracepoint_args *ctx, u32 tid) {}
static __always_inline void count_birth_call(u64 self) {}
#endif
