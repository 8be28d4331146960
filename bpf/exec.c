// What does an exec decide? A candidate's first exec says whether a birth begins; an exec after the root changed ends one.

#define WORDS_MAX 32      // arguments looked at
#define VARIABLES_MAX 192 // environment variables looked at
#define VARIABLE_ROOM 768 // CNI_ARGS with names of maximum length takes about 520

enum verb { NO_VERB = 0, VERB_CREATE, VERB_START, VERB_OTHER, VERB_ID };

// The meaning of an argument, given its first eight bytes (padded with zeros) and its length with the NUL.
static __always_inline u32 verb_of(u64 word, long length) {
  if (length > 9) return word == WORD('c', 'h', 'e', 'c', 'k', 'p', 'o', 'i') ? VERB_OTHER : NO_VERB;
  if (word == WORD('c', 'r', 'e', 'a', 't', 'e', 0, 0)) return VERB_CREATE;
  if (word == WORD('r', 'u', 'n', 0, 0, 0, 0, 0)) return VERB_CREATE;
  if (word == WORD('r', 'e', 's', 't', 'o', 'r', 'e', 0)) return VERB_CREATE;
  if (word == WORD('s', 't', 'a', 'r', 't', 0, 0, 0)) return VERB_START;
  if (word == WORD('-', 'i', 'd', 0, 0, 0, 0, 0) || word == WORD('-', '-', 'i', 'd', 0, 0, 0, 0)) return VERB_ID;
  if (word == WORD('e', 'x', 'e', 'c', 0, 0, 0, 0) || word == WORD('d', 'e', 'l', 'e', 't', 'e', 0, 0) ||
      word == WORD('k', 'i', 'l', 'l', 0, 0, 0, 0) || word == WORD('u', 'p', 'd', 'a', 't', 'e', 0, 0) ||
      word == WORD('e', 'v', 'e', 'n', 't', 's', 0, 0) || word == WORD('f', 'e', 'a', 't', 'u', 'r', 'e', 's') ||
      word == WORD('s', 't', 'a', 't', 'e', 0, 0, 0) || word == WORD('p', 'a', 'u', 's', 'e', 0, 0, 0) ||
      word == WORD('r', 'e', 's', 'u', 'm', 'e', 0, 0) || word == WORD('p', 's', 0, 0, 0, 0, 0, 0) ||
      word == WORD('l', 'i', 's', 't', 0, 0, 0, 0) || word == WORD('s', 'p', 'e', 'c', 0, 0, 0, 0))
    return VERB_OTHER;
  return NO_VERB;
}

// argv[0] is a name, never a verb. The strings lie one after the other from mm->arg_start (fs/exec.c). Sets cursor->verb to the first
// verb, cursor->id when an argument was -id: a shim's command line.
static __always_inline void read_words(u64 at, u64 end, u8 *room, struct cursor *cursor) {
#pragma clang loop unroll(disable)
  for (int i = 0; i < WORDS_MAX; i++) {
    if (at >= end) break;
    *(u64 *)room = 0;
    long n = bpf_probe_read_user_str(room, SOURCE_MAX, (void *)at);
    if (n <= 0) break;
    u32 verb = i ? verb_of(*(u64 *)room, n) : NO_VERB;
    if (verb == VERB_ID) cursor->id = 1;
    if (verb && verb != VERB_ID && !cursor->verb) cursor->verb = verb;
    at += n == SOURCE_MAX ? SOURCE_MAX - 1 : n; // cut: the rest is looked at as if it were another argument
  }
}

// Appends the CNI_* variables to `to` at *used (in a map: see walk); sets cursor->add when CNI_COMMAND=ADD is among them. Tells whether
// there was room for all.
static __always_inline bool read_cni(u64 from, u64 end, u8 *to, u32 *used, struct cursor *cursor) {
#pragma clang loop unroll(disable)
  for (int i = 0; i < VARIABLES_MAX; i++) {
    if (from >= end) break;
    u64 at = bounded(*used, 2047);
    if (at > ENVIRONMENT_MAX - VARIABLE_ROOM) return false;
    long n = bpf_probe_read_user_str(to + at, VARIABLE_ROOM, (void *)from);
    if (n <= 0) break;
    from += n == VARIABLE_ROOM ? VARIABLE_ROOM - 1 : n;
    u64 head = 0, rest = 0;
    bpf_probe_read_kernel(&head, 8, to + at);
    if ((u32)head != (u32)WORD('C', 'N', 'I', '_', 0, 0, 0, 0)) continue;
    bpf_probe_read_kernel(&rest, 8, to + at + 8);
    if (n == 16 && head == WORD('C', 'N', 'I', '_', 'C', 'O', 'M', 'M') &&
        rest == WORD('A', 'N', 'D', '=', 'A', 'D', 'D', 0))
      cursor->add = 1;
    *used = at + n;
  }
  return from >= end;
}

// From its hand-over on the shim is a daemon: a child of it became a runtime.
static __always_inline void hand_over(u32 shim_pid) {
  struct process *shim = processes.lookup(&shim_pid);
  if (!shim || shim->role != LINEAGE || !shim->shim) return;
  report_end(shim_pid, shim, HANDED_OVER, 0);
  shim->role = DAEMON;
  shim->daemon_kind = RUNTIME_DAEMON;
}

static __always_inline bool is_named(u32 kind) {
  struct comm name = {};
  bpf_get_current_comm(&name, sizeof(name));
  u32 *found = daemon_names.lookup(&name);
  return found && *found == kind;
}

static __always_inline bool is_mount_tool(void) {
  struct comm name = {};
  bpf_get_current_comm(&name, sizeof(name));
  u64 head = *(u64 *)name.name, rest = *(u64 *)(name.name + 8);
  if (head == WORD('s', 'y', 's', 't', 'e', 'm', 'd', '-')) return rest == WORD('r', 'u', 'n', 0, 0, 0, 0, 0);
  return !rest && (head == WORD('m', 'o', 'u', 'n', 't', 0, 0, 0) || head == WORD('u', 'm', 'o', 'u', 'n', 't', 0, 0));
}

#define POD_PATH_MAX 1024 // how far into the arguments a pod's directory is looked for

// Whether the arguments name something in a pod's directory, `/pods/<uid>/`. That it is a uid, user space checks.
static __always_inline bool names_pod(u64 at, u64 end, u8 *room, struct cursor *cursor) {
  u64 size = end - at;
  if (size > POD_PATH_MAX) size = POD_PATH_MAX;
  if (bpf_probe_read_user(room, bounded(size, 2047), (void *)at)) return false;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < POD_PATH_MAX; i++) {
    asm volatile("" ::: "memory"); // keeps the state in memory: see struct cursor
    if (i >= size) break;
    cursor->window = cursor->window << 8 | room[i];
    if (cursor->window << 16 == WORD(0, 0, '/', 's', 'd', 'o', 'p', '/')) return true;
  }
  return false;
}

static __always_inline void forget(u32 pid, struct process *p) {
  if (p->reported) report_end(pid, p, NOT_BIRTH, 0);
  processes.delete(&pid);
  forget_thread(pid);
  COUNT(not_birth);
}

static __always_inline void become_daemon(u32 pid, struct process *p, u32 kind) {
  if (p->reported) report_end(pid, p, NOT_BIRTH, 0);
  p->role = DAEMON;
  p->daemon_kind = kind;
}

static __always_inline u32 first_decision(struct process *p, struct cursor *cursor) {
  if (p->daemon_kind == KUBELET) return cursor->pod ? VOLUMES : INHERITED;
  if (cursor->verb == VERB_START && cursor->id) return SHIM_START;
  if (cursor->verb == VERB_CREATE || cursor->verb == VERB_START) return RUNTIME;
  return !cursor->verb && cursor->add ? CNI_ADD : INHERITED;
}

#define VARIABLES_AT (FILENAME_MAX + ARGUMENTS_MAX)

// Decides, and goes on to the record of the exec when it is a birth's. Runs after on_exec, which handled thread ids.
int exec_decide(struct bpf_raw_tracepoint_args *ctx) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  struct process *p = processes.lookup(&pid);
  struct record *r = new_record(EXEC);
  struct cursor *cursor = new_cursor();
  if (!p || !r || !cursor) return 0;
  u64 mm = read64(current_task() + TASK_STRUCT_MM);
  u64 arg_start = read64(mm + MM_STRUCT_ARG_START), arg_end = read64(mm + MM_STRUCT_ARG_END);
  read_words(arg_start, arg_end, r->payload, cursor);
  p->shim = cursor->id && !cursor->verb;
  if (p->role == CANDIDATE) {
    u64 from = read64(mm + MM_STRUCT_ENV_START), end = read64(mm + MM_STRUCT_ENV_END);
    if (p->daemon_kind == KUBELET) {
      cursor->pod = is_mount_tool() && names_pod(arg_start, arg_end, r->payload, cursor);
    } else if (!cursor->verb && !read_cni(from, end, r->payload + VARIABLES_AT, &r->lengths[2], cursor)) {
      r->flags |= TRUNCATED;
    }
    r->decision = first_decision(p, cursor);
    if (r->decision == INHERITED) {
      bool daemon = is_named(RUNTIME_DAEMON), kubelet = is_named(KUBELET);
      u64 cgroup = r->cgroup_id;
      if ((daemon || kubelet) && !pod_cgroups.lookup(&cgroup)) {
        become_daemon(pid, p, kubelet ? KUBELET : RUNTIME_DAEMON);
      } else {
        forget(pid, p);
      }
      return 0;
    }
    p->role = LINEAGE;
  } else if (p->entered) {
    r->decision = ENTRY_POINT;
  } else if (p->execs == 0 && (cursor->verb == VERB_CREATE || cursor->verb == VERB_START) && !cursor->id) {
    hand_over(p->parent_pid);
    if (!new_record(EXEC)) return 0; // the end's record took its place
  }
  p->execs++;
  tails.call(ctx, TAIL_EXEC_RECORD);
  COUNT(lost_tail);
  return 0;
}

// Fills in the record that exec_decide began, and sends it.
int exec_record(struct bpf_raw_tracepoint_args *ctx) {
  u32 zero = 0, pid = bpf_get_current_pid_tgid() >> 32;
  struct process *p = processes.lookup(&pid);
  struct record *r = scratch.lookup(&zero);
  if (!p || !r) return 0;
  u64 task = current_task();
  u64 mm = read64(task + TASK_STRUCT_MM);
  u64 arg_start = read64(mm + MM_STRUCT_ARG_START), arg_end = read64(mm + MM_STRUCT_ARG_END);
  u32 decision = r->decision;
  r->process_start_ns = p->start_ns;
  r->parent_pid = p->parent_pid;
  r->parent_start_ns = p->parent_start_ns;
  r->other_thread_id = (u32)ctx->args[1];
  r->vpid = vpid_of(task);
  r->role = p->role;
  // Payload: filename, arguments as they lie in memory, CNI variables, working directory. Read into fixed places, then packed.
  u64 environment = decision == CNI_ADD ? r->lengths[2] : 0;
  r->lengths[2] = environment;
  u64 used = 0;
  long n = bpf_probe_read_kernel_str(r->payload, FILENAME_MAX, (void *)read64(ctx->args[2] + LINUX_BINPRM_FILENAME));
  if (n > 0) {
    r->lengths[0] = n;
    used = n;
  }
  u64 size = arg_end - arg_start;
  if (size > ARGUMENTS_MAX) {
    size = ARGUMENTS_MAX;
    r->flags |= TRUNCATED;
  }
  size = bounded(size, 2047);
  if (!bpf_probe_read_user(r->payload + bounded(used, 511), size, (void *)arg_start)) {
    r->lengths[1] = size;
    used += size;
  } else {
    r->unread++;
  }
  bpf_probe_read_kernel(r->payload + bounded(used, 2047), bounded(environment, 2047), r->payload + VARIABLES_AT);
  used += environment;
  if (decision != ENTRY_POINT) {
    walk_from(r->payload + bounded(used, PAYLOAD_MAX), &r->lengths[3], working_directory(), &r->flags, CUT(3));
    used += r->lengths[3];
  }
  if (r->lengths[0] == FILENAME_MAX) r->flags |= CUT(0);
  // These name a bundle, which must be read before it is gone.
  send(r, used, decision == SHIM_START || decision == RUNTIME);
  return 0;
}

// The path of an execve that was not readable at entry: when the call returns, the memory that held it is gone.
static __always_inline void read_unread_path(u32 tid, u64 program) {
  struct thread *call = threads.lookup(&tid);
  struct text *text = texts.lookup(&tid);
  if (!call || !text || call->in_call != DESCRIBED || !call->unread || call->nr != __NR_execve) return;
  long n =
      bpf_probe_read_kernel_str(text->text + TARGET_AT, TARGET_MAX, (void *)read64(program + LINUX_BINPRM_FILENAME));
  if (n <= 0 || n > TARGET_MAX) return;
  text->lengths[SLOT_TARGET] = n;
  if (n == TARGET_MAX) text->flags |= CUT(SLOT_TARGET);
  call->unread = 0;
}

// sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm), in the task after it took over the process id
// (fs/exec.c: de_thread).
int on_exec(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id >> 32, old = ctx->args[1];
  struct process *p = processes.lookup(&pid);
  u64 cgroup = own_cgroup_id(own_task());
  u32 *level = pod_cgroups.lookup(&cgroup);
  if (!p || p->role == RUNNING) task_executes(pid, old);
  if (!p) {
    bool daemon = is_named(RUNTIME_DAEMON), kubelet = is_named(KUBELET);
    if ((!daemon && !kubelet) || level) return 0;
    struct process new = {.role = DAEMON, .daemon_kind = kubelet ? KUBELET : RUNTIME_DAEMON};
    new.start_ns = bpf_ktime_get_boot_ns();
    if (processes.update(&pid, &new)) COUNT(lost_processes);
    watch(pid);
    return 0;
  }
  if (p->role == RUNNING) return 0;
  if (old != pid) {
    watch(pid);
    unwatch(old);
    struct thread *t = threads.lookup(&old);
    if (t) {
      threads.update(&pid, t);
      threads.delete(&old);
    }
    struct text *text = texts.lookup(&old);
    if (text) {
      if (texts.update(&pid, text)) COUNT(lost_texts);
      texts.delete(&old);
    }
  }
  read_unread_path(pid, ctx->args[2]);
  if (p->role == DAEMON) return 0;
  if (p->role == LINEAGE && p->root_changed && level && *level == 2) {
    p->entered = 1;
    task_executes(pid, pid);
    learn_own_network(current_task());
  }
  tails.call(ctx, TAIL_EXEC_DECIDE);
  COUNT(lost_tail);
  return 0;
}
