// The record that goes to user space, the state kept per task, and the counters. The only definition of each: otel_kernel/kernel/
// compares names, offsets and sizes with what it decodes, at start.

#define SLOTS 6
#define SLOT_SOURCE 0
#define SLOT_TARGET 1
#define SLOT_KIND 2
#define SLOT_DATA 3
#define SLOT_SOURCE_BASE 4
#define SLOT_TARGET_BASE 5

#define SOURCE_MAX 256
#define TARGET_MAX 256
#define KIND_MAX 64
#define DATA_MAX 512
#define BASE_MAX 480
#define SOURCE_AT 0
#define TARGET_AT 256
#define KIND_AT 512
#define DATA_AT 576
#define SOURCE_BASE_AT 1088
#define TARGET_BASE_AT 1568
#define TEXT_MAX 2112

#define FILENAME_MAX 256
#define ARGUMENTS_MAX 1024
#define ENVIRONMENT_MAX 2040
#define PAYLOAD_MAX 4095  // a mask, too
#define PAYLOAD_ROOM 6400 // what the verifier must allow: the largest offset and the largest mask of a length behind it

#define NAMESPACES 8

enum kind { FORK = 1, EXEC, END, CALL, WAIT, CGROUP_MKDIR, CGROUP_RMDIR, CGROUP_ATTACH, CGROUP_WRITE, THROTTLED };
enum role { CANDIDATE = 1, LINEAGE, DAEMON, RUNNING };
enum decision { INHERITED = 0, SHIM_START, RUNTIME, CNI_ADD, VOLUMES, ENTRY_POINT };
enum ending { EXITED = 1, ENTERED, HANDED_OVER, NOT_BIRTH };
enum daemon_kind { RUNTIME_DAEMON = 1, KUBELET };

#define NO_RETURN 1 // the task ended inside the call
#define REFUSED 2   // sys_exit without sys_enter: seccomp refused the call before the tracepoint
#define TRUNCATED 4 // EXEC: arguments or CNI variables are missing at the end
// The slot's text is longer than its room: a string lacks its end, a walked path its beginning.
#define CUT(slot) (256 << (slot))

struct record {
  u64 start_ns;
  u64 end_ns;
  u64 process_start_ns;
  u64 parent_start_ns;
  s64 return_value;
  u64 arguments[6]; // END: syscalls, threads, openat, openat_errors, cgroup_writes, exit status; THROTTLED: CPU, number
  u64 cgroup_id;
  u32 kind;
  u32 nr;
  u32 pid;
  u32 thread_id;
  u32 other_thread_id; // CALL: at entry; EXEC: that called execve; FORK: parent's
  u32 parent_pid;
  u32 child_pid;
  u32 vpid;
  u32 role;
  u32 decision; // EXEC: enum decision; END: enum ending
  u32 flags;
  u32 unread;
  u32 namespaces[NAMESPACES]; // inode numbers: mnt, uts, ipc, pid, net, cgroup, time, user
  u32 lengths[SLOTS];         // of the strings in payload, one after the other, each with its NUL
  u8 payload[PAYLOAD_ROOM];
};

struct process {
  u64 start_ns;
  u64 parent_start_ns;
  u64 syscalls;
  u64 threads;
  u64 openat;
  u64 openat_errors;
  u64 cgroup_writes;
  u32 parent_pid;
  u32 parent_thread_id;
  u32 role;
  u32 daemon_kind; // of this daemon, or of the daemon that forked this candidate
  u32 root_moved;  // mount(MS_MOVE) or move_mount returned 0: a chroot after it changes the root
  u32 root_changed;
  u32 entered; // its entry point was exec'd: from the return of that execve on it is RUNNING, of which only the exit is told
  u32 shim;
  u32 execs;
  u32 reported; // a record of this candidate was sent, so its end must be, too
  u32 alive;    // threads that have not passed sched_process_exit; not kept for a DAEMON, nor for one that is RUNNING
  u32 pad;
};

// DESCRIBED: inside a drawn call, of which struct thread and struct text tell. READ_AGAIN: at its return, what was not readable before.
enum in_call { OUTSIDE = 0, INSIDE, DESCRIBED, READ_AGAIN };

struct thread {
  u64 entered_ns;
  u32 nr;
  u32 in_call;   // enum in_call
  u32 newborn;   // the next sys_exit is the child's side of clone
  u32 thread_id; // from here on of a drawn call: at its entry
  u64 arguments[6];
  u32 child_pid;
  u32 flags;
  u32 unread; // strings, or clone3's structure, not readable so far
  u32 pad;
  u32 namespaces[NAMESPACES];
};

// The strings of a thread's drawn call. Kept for its next one where more are likely: to make and to remove it takes longer than to fill it.
struct text {
  u32 lengths[SLOTS];
  u32 flags; // CUT of the slots
  u32 pad;
  u8 text[TEXT_MAX];
};

struct counters {
  u64 sent;           // records handed to the ring, whether it took them or not
  u64 lost_ring;      // the ring was full
  u64 lost_processes; // the map `processes` was full: a lineage was not followed
  u64 lost_threads;
  u64 lost_texts; // a drawn call is missing
  u64 not_birth;
  u64 compat;    // 32-bit calls of birth tasks: counted, never decoded
  u64 lost_tail; // a tail call failed: a record is missing
  u64 unwoken_bytes;
};

// What a loop carries from one turn to the next. In a map and not in registers, because the verifier follows each value that a register
// can have, and forgets what memory holds.
struct cursor {
  u32 verb;
  u32 id;
  u32 add;
  u32 pod;
  u32 state;
  u32 kept;
  u32 names;
  s64 fd;
  u64 window;
};

struct comm {
  char name[16];
};

BPF_RINGBUF_OUTPUT(records, RING_PAGES);
BPF_PERCPU_ARRAY(scratch, struct record, 1);
BPF_PERCPU_ARRAY(cursors, struct cursor, 1);
BPF_PERCPU_ARRAY(zero_process, struct process, 1);
BPF_PERCPU_ARRAY(counters, struct counters, 1);
BPF_ARRAY(watched, u64, 65536); // a bit per thread id: 4 Mi, the kernel's PID_MAX_LIMIT
BPF_HASH(processes, u32, struct process, PROCESSES_MAX);
BPF_HASH(threads, u32, struct thread, THREADS_MAX);
BPF_HASH(texts, u32, struct text, TEXTS_MAX);
BPF_ARRAY(empty_text, struct text, 1);
BPF_HASH(daemon_names, struct comm, u32, 64);
BPF_HASH(pod_cgroups, u64, u32, 16384); // v2 cgroup id: 1 = a pod's own, 2 = below one
BPF_PROG_ARRAY(tails, 8);
enum tail { TAIL_ENTER = 0, TAIL_EXIT, TAIL_WAIT, TAIL_EXEC_DECIDE, TAIL_WRITE, TAIL_EXEC_RECORD };

static __always_inline struct counters *own_counters(void) {
  u32 zero = 0;
  return counters.lookup(&zero);
}

#define COUNT(counter)                                                                                                 \
  do {                                                                                                                 \
    struct counters *counters_ = own_counters();                                                                       \
    if (counters_) counters_->counter++;                                                                               \
  } while (0)

static __always_inline struct cursor *new_cursor(void) {
  u32 zero = 0;
  struct cursor *cursor = cursors.lookup(&zero);
  if (cursor) __builtin_memset(cursor, 0, sizeof(*cursor));
  return cursor;
}

#define WORD(a, b, c, d, e, f, g, h)                                                                                   \
  ((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 | (u64)(g) << 48 |     \
   (u64)(h) << 56)

// Makes a bound plain to the verifier where the compiler would prove the check superfluous and drop it. `mask` is 2^n - 1.
static __always_inline u64 bounded(u64 value, u64 mask) {
  asm volatile("" : "+r"(value));
  return value & mask;
}

static __always_inline bool is_watched(u32 tid) {
  u32 word = (tid >> 6) & 65535;
  u64 *bits = watched.lookup(&word);
  return bits && (*bits & (1ULL << (tid & 63)));
}

static __always_inline void watch(u32 tid) {
  u32 word = (tid >> 6) & 65535;
  u64 *bits = watched.lookup(&word);
  if (bits) __sync_fetch_and_or(bits, 1ULL << (tid & 63));
}

static __always_inline void unwatch(u32 tid) {
  u32 word = (tid >> 6) & 65535;
  u64 *bits = watched.lookup(&word);
  if (bits) __sync_fetch_and_and(bits, ~(1ULL << (tid & 63)));
}

// A clean record for the current task on this CPU; programs run with preemption off, so nobody else writes it meanwhile.
static __always_inline struct record *new_record(u32 kind) {
  u32 zero = 0;
  struct record *r = scratch.lookup(&zero);
  if (!r) return NULL;
  __builtin_memset(r, 0, offsetof(struct record, payload));
  u64 self = own_task();
  r->kind = kind;
  r->pid = own_process_id(self);
  r->thread_id = own_thread_id(self);
  r->cgroup_id = own_cgroup_id(self);
  r->start_ns = r->end_ns = bpf_ktime_get_boot_ns();
  return r;
}

// Sends the record with `used` bytes of payload. Wakes the reader when asked, and when this CPU has sent an eighth of the ring since:
// polling by time costs no wake-up per record.
static __always_inline void send(struct record *r, u64 used, bool wake) {
  struct counters *c = own_counters();
  if (!c) return;
  u64 size = offsetof(struct record, payload) + bounded(used, PAYLOAD_MAX);
  c->sent++;
  c->unwoken_bytes += size;
  if (c->unwoken_bytes > RING_PAGES * 512) wake = true;
  if (wake) c->unwoken_bytes = 0;
  if (records.ringbuf_output(r, size, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP)) c->lost_ring++;
}
