// What exactly was called? Strings are read at entry, when exec has not yet replaced the memory nor a mount the path, and again at
// exit where the page was not resident. Only the drawn families and long waits come here.

static __always_inline void read_string(struct text *s, u32 slot, u32 at, u32 max, u64 address) {
  if (!address || s->lengths[slot]) return;
  long n = bpf_probe_read_user_str(s->text + at, max, (void *)address);
  if (n <= 0 || n > max) return;
  s->lengths[slot] = n;
  u8 next = 0;
  if (n == max && (bpf_probe_read_user(&next, 1, (void *)(address + max - 1)) || next)) s->flags |= CUT(slot);
}

#define READ_SOURCE(address) read_string(s, SLOT_SOURCE, SOURCE_AT, SOURCE_MAX, address)
#define READ_TARGET(address) read_string(s, SLOT_TARGET, TARGET_AT, TARGET_MAX, address)
#define READ_KIND(address) read_string(s, SLOT_KIND, KIND_AT, KIND_MAX, address)
#define READ_DATA(address) read_string(s, SLOT_DATA, DATA_AT, DATA_MAX, address)

// A bind mount and a moved one have no data, although many callers pass something.
#define HAS_DATA(flags) (!((flags) & (MS_BIND | MS_MOVE)))

// The strings of a call. Returns how many it names.
static __always_inline u32 read_strings(struct text *s, const u64 *a, u32 shape) {
  switch (shape) {
  case MOUNT:
    READ_SOURCE(a[0]);
    READ_TARGET(a[1]);
    READ_KIND(a[2]);
    if (HAS_DATA(a[3])) READ_DATA(a[4]);
    return (a[0] != 0) + (a[1] != 0) + (a[2] != 0) + (a[4] != 0 && HAS_DATA(a[3]));
  case UMOUNT:
  case EXECVE:
    READ_TARGET(a[0]);
    return a[0] != 0;
  case PIVOT_ROOT:
    READ_SOURCE(a[0]);
    READ_TARGET(a[1]);
    return 2;
  case MOVE_MOUNT:
    READ_SOURCE(a[1]);
    READ_TARGET(a[3]);
    return 2;
  case AT_PATH:
  case EXECVEAT:
  case OPEN_DRAWN:
    READ_TARGET(a[1]);
    return a[1] != 0;
  case FSOPEN:
    READ_KIND(a[0]);
    return a[0] != 0;
  case FSCONFIG:
    READ_SOURCE(a[2]);
    if (a[1] == 1 || a[1] == 3) READ_TARGET(a[3]); // FSCONFIG_SET_STRING, FSCONFIG_SET_PATH
    return (a[2] != 0) + (a[1] == 1 || a[1] == 3);
  }
  return 0;
}

// What a path is relative to: the file behind /proc/self/fd/N, the directory descriptor, the working directory; nothing when absolute.
static __always_inline void resolve(struct text *s, u32 slot, s64 dfd) {
  u32 base = slot == SLOT_SOURCE ? SLOT_SOURCE_BASE : SLOT_TARGET_BASE, length = s->lengths[slot];
  u8 *path = s->text + (slot == SLOT_SOURCE ? SOURCE_AT : TARGET_AT);
  u8 *to = s->text + (slot == SLOT_SOURCE ? SOURCE_BASE_AT : TARGET_BASE_AT);
  struct cursor *cursor = new_cursor();
  if (!cursor || s->lengths[base]) return;
  cursor->fd = dfd;
  if (length > 1 && path[0] == '/') {
    read_proc_fd(path, cursor);
    if (cursor->fd < 0) return;
  }
  u64 at;
  if (cursor->fd != AT_FDCWD) {
    u64 file = file_of(cursor->fd);
    if (!file) return;
    at = file + FILE_F_PATH;
  } else {
    if (length <= 1) return;
    at = working_directory();
  }
  walk_from(to, &s->lengths[base], at, &s->flags, CUT(base));
}

static __always_inline void resolve_paths(struct text *s, const u64 *a, u32 shape) {
  s64 source_dfd = AT_FDCWD, target_dfd = AT_FDCWD;
  bool source = shape == PIVOT_ROOT || (shape == MOUNT && a[3] & (MS_BIND | MS_MOVE)), target = true;
  switch (shape) {
  case MOVE_MOUNT:
    source = true;
    source_dfd = (s32)a[0];
    target_dfd = (s32)a[2];
    break;
  case AT_PATH:
  case EXECVEAT:
  case OPEN_DRAWN:
    target_dfd = (s32)a[0];
    break;
  case MOUNT:
  case UMOUNT:
  case PIVOT_ROOT:
  case EXECVE:
    break;
  default:
    target = false;
  }
  if (source) resolve(s, SLOT_SOURCE, source_dfd);
  if (target) resolve(s, SLOT_TARGET, target_dfd);
}

// clone_args.flags, behind the pointer that arguments[2] keeps; read once more at the return when its page was not resident.
static __always_inline u32 read_clone_flags(struct thread *t) {
  u64 flags = 0;
  if (bpf_probe_read_user(&flags, 8, (void *)t->arguments[2])) return 1;
  t->arguments[0] = flags;
  return 0;
}

static __always_inline void begin_call(struct thread *t, struct registers *r, u32 tid) {
  u32 shape = shape_of(t->nr);
  t->thread_id = tid;
  t->arguments[0] = ARG0(r);
  t->arguments[1] = ARG1(r);
  t->arguments[2] = ARG2(r);
  t->arguments[3] = ARG3(r);
  t->arguments[4] = ARG4(r);
  t->arguments[5] = ARG5(r);
  __builtin_memset(&t->child_pid, 0, sizeof(*t) - offsetof(struct thread, child_pid));
  if (t->in_call == OUTSIDE) t->flags = REFUSED;
#ifdef __NR_fork
  if (t->nr == __NR_fork) t->arguments[0] = 0;
  if (t->nr == __NR_vfork) t->arguments[0] = CLONE_VFORK | CLONE_VM;
#endif
  if (shape == CLONE3) {
    t->arguments[2] = t->arguments[0];
    t->arguments[0] = 0;
  }
  if (shape == SETNS) t->arguments[2] = read64(read64(file_of(t->arguments[0]) + FILE_F_INODE) + INODE_I_INO);
}

static __always_inline struct text *text_of(u32 tid) {
  u32 zero = 0;
  struct text *s = texts.lookup(&tid), *empty = empty_text.lookup(&zero);
  if (s || !empty) return s;
  texts.update(&tid, empty);
  return texts.lookup(&tid);
}

// Tells whether there was room for the strings.
static __always_inline bool describe_strings(struct thread *t, u32 tid, u32 shape) {
  struct text *s = text_of(tid);
  if (!s) return false;
  if (t->in_call != READ_AGAIN) __builtin_memset(s, 0, offsetof(struct text, text));
  u32 strings = read_strings(s, t->arguments, shape);
  u32 read = (s->lengths[0] != 0) + (s->lengths[1] != 0) + (s->lengths[2] != 0) + (s->lengths[3] != 0);
  t->unread = read < strings ? strings - read : 0;
  resolve_paths(s, t->arguments, shape);
  return true;
}

// Most drawn calls have no strings: what there is to tell of those needs no program of its own.
static __always_inline void describe_plain(struct bpf_raw_tracepoint_args *ctx, struct thread *t, u32 tid, u32 shape) {
  struct registers r;
  read_registers(&r, ctx->args[0]);
  begin_call(t, &r, tid);
  if (shape == CLONE3) t->unread = read_clone_flags(t);
  t->in_call = DESCRIBED;
}

// Describes a call: at its entry; at its return when seccomp refused it; and at its return once more what was not readable at entry.
int enter_drawn(struct bpf_raw_tracepoint_args *ctx) {
  u32 tid = bpf_get_current_pid_tgid();
  struct thread *t = threads.lookup(&tid);
  if (!t) return 0;
  if (t->in_call != READ_AGAIN) {
    struct registers r;
    read_registers(&r, ctx->args[0]);
    begin_call(t, &r, tid);
  }
  u32 shape = shape_of(t->nr);
  if (shape == CLONE3) t->unread = read_clone_flags(t);
  if (shape > SETNS && !describe_strings(t, tid, shape)) {
    COUNT(lost_texts);
    return 0;
  }
  bool at_return = t->in_call != INSIDE;
  if (t->in_call != READ_AGAIN) t->in_call = DESCRIBED;
  if (at_return) {
    tails.call(ctx, TAIL_EXIT);
    COUNT(lost_tail);
  }
  return 0;
}

// The smallest 2^n - 1 that each length fits.
#define MASK_SOURCE_MAX 511
#define MASK_TARGET_MAX 511
#define MASK_KIND_MAX 127
#define MASK_DATA_MAX 1023
#define MASK_BASE_MAX 511

#define PACK(slot, at, max)                                                                                            \
  do {                                                                                                                 \
    u32 n_ = s->lengths[slot];                                                                                         \
    if (n_ && n_ <= (max)) {                                                                                           \
      bpf_probe_read_kernel(r->payload + bounded(used, PAYLOAD_MAX), bounded(n_, MASK_##max), s->text + (at));         \
      r->lengths[slot] = n_;                                                                                           \
      used += n_;                                                                                                      \
    }                                                                                                                  \
  } while (0)

static __always_inline u32 pack(struct record *r, struct text *s) {
  u32 used = 0;
  PACK(SLOT_SOURCE, SOURCE_AT, SOURCE_MAX);
  PACK(SLOT_TARGET, TARGET_AT, TARGET_MAX);
  PACK(SLOT_KIND, KIND_AT, KIND_MAX);
  PACK(SLOT_DATA, DATA_AT, DATA_MAX);
  PACK(SLOT_SOURCE_BASE, SOURCE_BASE_AT, BASE_MAX);
  PACK(SLOT_TARGET_BASE, TARGET_BASE_AT, BASE_MAX);
  return used;
}

// A daemon moves mounts for others, and its children inherit what is noted here.
static __always_inline void note_root(struct process *p, u32 shape, u64 mount_flags, s64 result) {
  if (result || p->role == DAEMON) return;
  if (shape == PIVOT_ROOT) p->root_changed = 1;
  if (shape == MOVE_MOUNT || (shape == MOUNT && mount_flags & MS_MOVE)) p->root_moved = 1;
}

// After a successful exec the address means something else: what was not read by then stays unread.
static __always_inline bool can_read_again(struct thread *t, u32 shape, s64 result) {
  bool replaced = (shape == EXECVE || shape == EXECVEAT) && result == 0;
  return t->unread && t->in_call == DESCRIBED && !replaced;
}

static __always_inline void report_call(struct thread *t, u32 tid, struct process *p, u32 shape, s64 result) {
  struct text *s = shape > SETNS ? texts.lookup(&tid) : NULL;
  struct record *r = new_record(CALL);
  if (!r) return;
  r->process_start_ns = p->start_ns;
  r->return_value = result;
  r->role = p->role;
  r->start_ns = t->entered_ns;
  r->nr = t->nr;
  r->other_thread_id = t->thread_id;
  r->child_pid = t->child_pid;
  r->flags = t->flags | (s ? s->flags : 0);
  r->unread = t->unread;
  __builtin_memcpy(r->arguments, t->arguments, sizeof(r->arguments));
  __builtin_memcpy(r->namespaces, t->namespaces, sizeof(r->namespaces));
  if (shape == UNSHARE) read_namespaces(current_task(), t->arguments[0], r->namespaces);
  if (shape == SETNS) read_namespaces(current_task(), t->arguments[1] ? t->arguments[1] : ~0ULL, r->namespaces);
  p->reported = 1;
  send(r, s ? pack(r, s) : 0, false);
}

static __always_inline void leave_drawn(struct bpf_raw_tracepoint_args *ctx, u32 pid, u32 tid, struct process *p,
                                        struct thread *t) {
  s64 result = ctx->args[1];
  u32 shape = shape_of(t->nr);
  bool described = t->in_call == DESCRIBED || t->in_call == READ_AGAIN, is_exec = shape == EXECVE || shape == EXECVEAT;
  if (can_read_again(t, shape, result)) {
    t->in_call = READ_AGAIN;
    tails.call(ctx, TAIL_ENTER);
    COUNT(lost_tail);
  }
  t->in_call = OUTSIDE;
  note_root(p, shape, t->arguments[3], result);
  bool is_thread = shape <= CLONE3 && t->arguments[0] & CLONE_THREAD; // threads are counted, not drawn
  if (described && !is_thread) report_call(t, tid, p, shape, result);
  if (p->role == DAEMON || is_exec) texts.delete(&tid); // many daemons' threads live long and call seldom
  if (p->entered && result == 0) {                      // it was its execve: nothing else can return first
    report_end(pid, p, ENTERED, 0);
    p->role = RUNNING;
    forget_thread(tid);
    begin_container(tid);
  }
}

// The return of a call that on_sys_exit leaves to others: a daemon's, a refused one, one that was read again.
int exit_drawn(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32, tid = id;
  struct process *p = processes.lookup(&pid);
  struct thread *t = threads.lookup(&tid);
  if (p && t) leave_drawn(ctx, pid, tid, p, t);
  return 0;
}

int wait_record(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32, tid = id;
  struct process *p = processes.lookup(&pid);
  struct thread *t = threads.lookup(&tid);
  struct record *r = new_record(WAIT);
  if (!p || !t || !r) return 0;
  struct registers g;
  read_registers(&g, ctx->args[0]);
  r->start_ns = t->entered_ns;
  r->process_start_ns = p->start_ns;
  r->return_value = ctx->args[1];
  r->role = p->role;
  r->nr = t->nr;
  r->arguments[0] = ARG0(&g);
  r->arguments[1] = ARG1(&g);
  r->arguments[2] = ARG2(&g);
  r->arguments[3] = ARG3(&g);
  u32 used = 0;
  if (shape_of(t->nr) == OPENAT) {
    long n = bpf_probe_read_user_str(r->payload, TARGET_MAX, (void *)ARG1(&g));
    if (n > 0 && n <= TARGET_MAX) {
      r->lengths[0] = n;
      used = n;
      if (n == TARGET_MAX) r->flags |= CUT(0);
    }
  }
  p->reported = 1;
  send(r, used, false);
  return 0;
}

int write_record(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32;
  struct process *p = processes.lookup(&pid);
  struct record *r = new_record(CGROUP_WRITE);
  if (!p || !r) return 0;
  struct registers g;
  read_registers(&g, ctx->args[0]);
  r->process_start_ns = p->start_ns;
  r->role = p->role;
  r->return_value = ctx->args[1];
  walk_from(r->payload, &r->lengths[0], file_of(ARG0(&g)) + FILE_F_PATH, &r->flags, CUT(0));
  send(r, r->lengths[0], false);
  return 0;
}
