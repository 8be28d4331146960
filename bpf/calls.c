// Which calls do the tasks of a birth make? One dispatcher per raw tracepoint; what needs strings is done in tail-called programs.

#define WAIT_NS 1000000

static __always_inline bool is_open(u32 shape) { return shape == OPENAT || shape == OPEN_DRAWN; }

// Of a daemon's threads only those are kept that have made a drawn call.
static __always_inline int enter_of_daemon(struct bpf_raw_tracepoint_args *ctx, u64 self, u32 tid, u64 nr) {
  if (shape_of(nr) < DRAWN || is_compat(self, nr)) return 0;
  struct thread *t = threads.lookup(&tid);
  if (!t) {
    struct thread new = {};
    threads.update(&tid, &new);
    t = threads.lookup(&tid);
  }
  if (!t) {
    COUNT(lost_threads);
    return 0;
  }
  t->entered_ns = bpf_ktime_get_boot_ns();
  t->nr = nr;
  t->in_call = INSIDE;
  tails.call(ctx, TAIL_ENTER);
  COUNT(lost_tail);
  return 0;
}

// sys_enter(struct pt_regs *regs, long id)
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx) {
  u64 nr = ctx->args[1];
  u64 self = own_task();
  u32 tid = own_thread_id(self);
  if (!is_watched(tid)) {
    enter_call(self, tid, nr);
    return 0;
  }
  u32 pid = own_process_id(self);
  struct process *p = processes.lookup(&pid);
  if (!p) unwatch(tid);
  if (!p || p->role == RUNNING) {
    enter_call(self, tid, nr);
    return 0;
  }
  if (p->role == DAEMON) return enter_of_daemon(ctx, self, tid, nr);
  __sync_fetch_and_add(&p->syscalls, 1);
  count_birth_call(self);
  struct thread *t = threads.lookup(&tid);
  if (!t) {
    COUNT(lost_threads);
    return 0;
  }
  t->entered_ns = bpf_ktime_get_boot_ns();
  t->nr = nr;
  t->in_call = INSIDE;
  t->newborn = 0;
  if (is_compat(self, nr)) {
    t->nr = -1;
    COUNT(compat);
    return 0;
  }
  u32 shape = shape_of(nr);
  if (is_open(shape)) __sync_fetch_and_add(&p->openat, 1);
  if (shape < DRAWN) return 0;
  if (shape <= SETNS) {
    describe_plain(ctx, t, tid, shape);
    return 0;
  }
  tails.call(ctx, TAIL_ENTER);
  COUNT(lost_tail);
  return 0;
}

static __always_inline u64 first_argument(struct bpf_raw_tracepoint_args *ctx) {
  struct registers r;
  read_registers(&r, ctx->args[0]);
  return ARG0(&r);
}

static __always_inline int exit_of_daemon(struct bpf_raw_tracepoint_args *ctx, u64 self, u32 tid) {
  struct thread *t = threads.lookup(&tid);
  if (t && t->in_call == DESCRIBED) {
    tails.call(ctx, TAIL_EXIT);
    COUNT(lost_tail);
    return 0;
  }
  struct registers r;
  read_registers(&r, ctx->args[0]);
  if (shape_of(SYSCALL_NR(&r)) != WRITE || (s64)ctx->args[1] <= 0 || is_compat(self, SYSCALL_NR(&r))) return 0;
  if (!is_cgroup_file(file_of(ARG0(&r)))) return 0;
  tails.call(ctx, TAIL_WRITE);
  COUNT(lost_tail);
  return 0;
}

static __always_inline void count_result(struct bpf_raw_tracepoint_args *ctx, struct process *p, u32 shape,
                                         s64 result) {
  if (is_open(shape) && result < 0) {
    __sync_fetch_and_add(&p->openat_errors, 1);
  } else if (shape == WRITE && result > 0) {
    if (is_cgroup_file(file_of(first_argument(ctx)))) __sync_fetch_and_add(&p->cgroup_writes, 1);
  } else if (shape == CHROOT && result == 0 && p->root_moved) {
    p->root_changed = 1;
  }
}

// A call that seccomp refused, which comes before the sys_enter tracepoint (kernel/entry/common.c: syscall_trace_enter).
static __always_inline int exit_of_refused(struct bpf_raw_tracepoint_args *ctx, u64 self, struct process *p,
                                           struct thread *t) {
  struct registers r;
  read_registers(&r, ctx->args[0]);
  u64 nr = SYSCALL_NR(&r);
  __sync_fetch_and_add(&p->syscalls, 1);
  count_birth_call(self);
  if (is_compat(self, nr)) {
    COUNT(compat);
    return 0;
  }
  u32 shape = shape_of(nr);
  if (is_open(shape)) __sync_fetch_and_add(&p->openat, 1);
  count_result(ctx, p, shape, ctx->args[1]);
  if (shape < DRAWN) return 0;
  t->entered_ns = bpf_ktime_get_boot_ns();
  t->nr = nr;
  tails.call(ctx, TAIL_ENTER);
  COUNT(lost_tail);
  return 0;
}

// sys_exit(struct pt_regs *regs, long ret)
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
  u64 self = own_task();
  u32 tid = own_thread_id(self), pid = own_process_id(self);
  if (!is_watched(tid)) {
    leave_call(ctx, tid);
    return 0;
  }
  struct process *p = processes.lookup(&pid);
  if (!p || p->role == RUNNING) {
    leave_call(ctx, tid);
    return 0;
  }
  if (p->role == DAEMON) return exit_of_daemon(ctx, self, tid);
  struct thread *t = threads.lookup(&tid);
  if (!t) return 0;
  if (t->in_call == OUTSIDE) {
    bool newborn = t->newborn;
    t->newborn = 0;
    if (newborn) return 0; // the child's side of clone returns without having entered
    return exit_of_refused(ctx, self, p, t);
  }
  u32 shape = shape_of(t->nr);
  if (t->nr != (u32)-1) count_result(ctx, p, shape, ctx->args[1]);
  if (shape >= DRAWN) {
    leave_drawn(ctx, pid, tid, p, t);
    return 0;
  }
  t->in_call = OUTSIDE;
  if (t->nr != (u32)-1 && shape != IDLE && bpf_ktime_get_boot_ns() - t->entered_ns >= WAIT_NS) {
    tails.call(ctx, TAIL_WAIT);
    COUNT(lost_tail);
  }
  return 0;
}
