// Who takes part in a birth? Inheritance over fork, and the end of a process (design section 3).

// Run by the agent for each thread of a daemon that was there before: an update of the map by bpf(2) could undo what a CPU sets meanwhile.
int watch_thread(struct bpf_raw_tracepoint_args *ctx) {
  watch(ctx->args[0]);
  return 0;
}

static __always_inline void report_fork(u64 task, u32 pid, struct process *child, u64 clone_flags) {
  struct record *r = new_record(FORK);
  if (!r) return;
  r->other_thread_id = r->thread_id;
  r->pid = r->thread_id = pid;
  r->process_start_ns = child->start_ns;
  r->parent_pid = child->parent_pid;
  r->parent_start_ns = child->parent_start_ns;
  r->vpid = vpid_of(task);
  r->arguments[0] = clone_flags;
  send(r, 0, false);
}

// task_newtask(struct task_struct *task, unsigned long clone_flags), in the parent (kernel/fork.c: copy_process).
int on_newtask(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 parent_pid = id >> 32, parent_tid = id;
  struct process *parent = processes.lookup(&parent_pid);
  u64 task = ctx->args[0], clone_flags = ctx->args[1];
  if (!parent || parent->role == RUNNING) {
    task_begins(task, clone_flags);
    return 0;
  }
  u32 tid = read32(task + TASK_STRUCT_PID), pid = read32(task + TASK_STRUCT_TGID);
  if (clone_flags & CLONE_THREAD) {
    if (parent->role == DAEMON) {
      watch(tid);
    } else {
      __sync_fetch_and_add(&parent->threads, 1);
      __sync_fetch_and_add(&parent->alive, 1);
      new_thread(tid);
    }
    return 0;
  }
  u32 zero = 0;
  struct process *child = zero_process.lookup(&zero);
  if (!child) return 0;
  __builtin_memset(child, 0, sizeof(*child));
  child->start_ns = bpf_ktime_get_boot_ns();
  child->parent_pid = parent_pid;
  child->parent_start_ns = parent->start_ns;
  child->parent_thread_id = parent_tid;
  child->role = parent->role == DAEMON ? CANDIDATE : parent->role;
  child->daemon_kind = parent->daemon_kind;
  child->root_moved = parent->root_moved;
  child->root_changed = parent->root_changed;
  child->alive = 1;
  if (processes.update(&pid, child)) {
    COUNT(lost_processes);
    return 0;
  }
  new_thread(tid);
  struct thread *call = threads.lookup(&parent_tid);
  if (call && call->in_call == DESCRIBED) {
    call->child_pid = pid;
    read_namespaces(task, clone_flags, call->namespaces);
  }
  if (child->role == LINEAGE) report_fork(task, pid, child, clone_flags);
  return 0;
}

// A call that never returns, because its task ends inside it.
static __always_inline void report_unfinished(u32 tid, struct process *p) {
  struct thread *call = threads.lookup(&tid);
  if (!call || call->in_call != DESCRIBED || p->role == DAEMON) return;
  struct record *r = new_record(CALL);
  if (!r) return;
  r->start_ns = call->entered_ns;
  r->process_start_ns = p->start_ns;
  r->nr = call->nr;
  r->other_thread_id = call->thread_id;
  r->role = p->role;
  r->flags = call->flags | NO_RETURN;
  __builtin_memcpy(r->arguments, call->arguments, sizeof(r->arguments));
  p->reported = 1;
  send(r, 0, false);
}

// Whether this was the process's last thread. Threads end at the same time on several CPUs: the kernel's own count (signal->live) falls
// to zero before the last but one has told what it was in the middle of.
static __always_inline bool is_last(struct process *p, u64 task) {
  if (p->role == DAEMON || p->role == RUNNING) return !read32(read64(task + TASK_STRUCT_SIGNAL) + SIGNAL_STRUCT_LIVE);
  __sync_fetch_and_add(&p->alive, -1);
  asm volatile("" ::: "memory");
  return !p->alive;
}

// sched_process_exit(struct task_struct *task), in the task (kernel/exit.c: do_exit).
int on_process_exit(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32, tid = id;
  struct process *p = processes.lookup(&pid);
  if (!p || p->role == RUNNING) task_ends(tid, pid);
  if (!p) {
    if (is_watched(tid)) forget_thread(tid);
    return 0;
  }
  if (p->role != RUNNING) {
    report_unfinished(tid, p);
    forget_thread(tid);
  }
  u64 task = current_task();
  if (!is_last(p, task)) return 0;
  struct process ended = *p;
  if (processes.delete(&pid)) return 0; // another thread of it was here first
  if (ended.role == CANDIDATE) COUNT(not_birth);
  if (ended.role == LINEAGE || ended.role == RUNNING || (ended.role == CANDIDATE && ended.reported))
    report_end(pid, &ended, ended.role == CANDIDATE ? NOT_BIRTH : EXITED, exit_status_of(task));
  return 0;
}
