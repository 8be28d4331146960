// What both halves do with a process and its threads.

static __always_inline void report_end(u32 pid, struct process *p, u32 ending, u64 status) {
  struct record *r = new_record(END);
  if (!r) return;
  r->pid = pid;
  r->process_start_ns = p->start_ns;
  r->decision = ending;
  r->role = p->role;
  r->arguments[0] = p->syscalls;
  r->arguments[1] = p->threads;
  r->arguments[2] = p->openat;
  r->arguments[3] = p->openat_errors;
  r->arguments[4] = p->cgroup_writes;
  r->arguments[5] = status;
  send(r, 0, false);
}

static __always_inline void new_thread(u32 tid) {
  struct thread t = {.newborn = 1};
  if (threads.update(&tid, &t)) COUNT(lost_threads);
  watch(tid);
}

static __always_inline void forget_thread(u32 tid) {
  unwatch(tid);
  threads.delete(&tid);
  texts.delete(&tid);
}
