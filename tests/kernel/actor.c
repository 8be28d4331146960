// A process of a birth that does exactly what it is told, so that a test knows what the kernel must have seen.
//
// As `<name> daemon` it reads commands, one a line, fields separated by \x1f, and answers each with the words that its steps told and a
// line `done PID STATUS`:
//   run HOW COUNT ARG... VARIABLE...   a child: its program (ARG, the first is the path) and environment
//   do STEP...                         the daemon itself
// In any other role it takes the steps among its arguments: from the first that begins with `=` on, each without that letter, which
// keeps their words from being taken for a runtime's. `--` stands between steps.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEPARATOR '\x1f'
#define WORDS_MAX 256

static long results[WORDS_MAX];
static int result_count;

static void fail(const char *what) {
  dprintf(1, "failed %s: %s\n", what, strerror(errno));
  _exit(99);
}

// The kernel's own return value, not libc's.
static long raw(long nr, const long *a) {
  long value = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  return value == -1 && errno ? -errno : value;
}

static long last(void) { return result_count ? results[result_count - 1] : 0; }

// Bytes in a page that is in the page cache and not yet in this process's page table: the kernel faults it in during the call.
static void *not_resident(const void *bytes, size_t size) {
  int fd = memfd_create("cold", 0);
  if (fd < 0 || write(fd, bytes, size) < 0) fail("memfd");
  void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) fail("mmap");
  close(fd);
  return page;
}

// Text where a 32-bit call finds it.
static void *low(const char *text) {
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (page == MAP_FAILED) fail("mmap");
  return strcpy(page, text);
}

static char *formatted(const char *format) {
  char *text;
  if (asprintf(&text, format, last()) < 0) fail("asprintf");
  return text;
}

// s:text; n:text in a page that is not resident; l:text below 4 GiB; f:format of the last result; r: the last result; a number.
static long word_value(const char *word) {
  if (!strncmp(word, "s:", 2)) return (long)(word + 2);
  if (!strncmp(word, "n:", 2)) return (long)not_resident(word + 2, strlen(word + 2) + 1);
  if (!strncmp(word, "l:", 2)) return (long)low(word + 2);
  if (!strncmp(word, "f:", 2)) return (long)formatted(word + 2);
  if (!strcmp(word, "r")) return last();
  return strtol(word, NULL, 0);
}

static void call(char **words, int count) {
  long a[6] = {0};
  for (int i = 1; i < count && i < 7; i++)
    a[i - 1] = word_value(words[i]);
  errno = 0;
  results[result_count++ % WORDS_MAX] = raw(strtol(words[0], NULL, 0), a);
}

static void repeat(char **words, int count) {
  long a[6] = {0};
  for (int i = 2; i < count && i < 8; i++)
    a[i - 2] = word_value(words[i]);
  for (long n = strtol(words[0], NULL, 0); n > 0; n--) {
    errno = 0;
    raw(strtol(words[1], NULL, 0), a);
  }
}

static void *call_getppid(void *times) {
  for (long n = (long)times; n > 0; n--)
    syscall(SYS_getppid);
  return NULL;
}

static void threads(long count, long times) {
  pthread_t made[64];
  for (long i = 0; i < count; i++)
    if (pthread_create(&made[i], NULL, call_getppid, (void *)times)) fail("thread");
  for (long i = 0; i < count; i++)
    pthread_join(made[i], NULL);
}

static long forever = SYS_getppid;

static void *call_forever(void *arg) {
  for (;;)
    syscall(forever, AT_FDCWD, "/nonexistent", O_RDONLY);
  return arg;
}

// Ends by exit_group while other threads are busy: they end at the same time on other CPUs.
static void crowd(long count, long nr, long us) {
  pthread_t made[64];
  if (nr) forever = nr;
  for (long i = 0; i < count; i++)
    if (pthread_create(&made[i], NULL, call_forever, NULL)) fail("thread");
  usleep(us ? us : 300);
  syscall(SYS_exit_group, 7);
}

static long make_child(const char *how, const char *flags) {
  long value = word_value(flags);
  if (!strcmp(how, "clone")) return syscall(SYS_clone, value | SIGCHLD, 0, 0, 0, 0);
#ifdef SYS_fork
  if (!strcmp(how, "fork")) return syscall(SYS_fork);
#endif
  struct clone_args arguments = {.flags = value, .exit_signal = value & CLONE_THREAD ? 0 : SIGCHLD};
  bool cold = !strcmp(how, "clone3-cold");
  return syscall(SYS_clone3, cold ? not_resident(&arguments, sizeof(arguments)) : &arguments, sizeof(arguments));
}

static int wait_for(long pid) {
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0)
    if (errno != EINTR) fail("wait");
  return status;
}

static void child(char **words) {
  long pid = !strcmp(words[0], "vfork") ? vfork() : make_child(words[0], words[1]);
  if (pid == 0) _exit(0);
  results[result_count++ % WORDS_MAX] = pid < 0 ? -errno : pid;
  if (pid > 0) wait_for(pid);
}

// The child goes on with the steps; this process ends as the child does.
static void descend(char **words) {
  long pid = make_child(words[0], words[1]);
  if (pid < 0) fail("descend");
  if (pid > 0) _exit(WEXITSTATUS(wait_for(pid)));
}

// A child with a chosen id in the outermost PID namespaces (clone3: set_tid).
static void child_at(long id) {
  pid_t ids[] = {id};
  struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids, .set_tid_size = 1};
  long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid == 0) _exit(0);
  results[result_count++ % WORDS_MAX] = pid < 0 ? -errno : pid;
  if (pid > 0) wait_for(pid);
}

// A parent that dies inside vfork, which returns only when the child ends.
static void die_in_vfork(void) {
  if (vfork() == 0) {
    struct timespec delay = {.tv_nsec = 20000000};
    syscall(SYS_kill, getppid(), SIGKILL);
    syscall(SYS_nanosleep, &delay, NULL);
    _exit(0);
  }
}

// Whether a process waits in a system call of that number.
static bool is_inside(pid_t pid, long nr) {
  char path[64], text[256] = "";
  snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
  int fd = open(path, O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0) fail(path);
  close(fd);
  return text[0] != 'r' && strtol(text, NULL, 10) == nr; // `running`
}

// Opens a FIFO that nobody writes to and is killed there.
static void die_in_openat(const char *fifo) {
  pid_t self = getpid();
  if (fork() == 0) {
    while (!is_inside(self, SYS_openat))
      usleep(1000);
    syscall(SYS_kill, self, SIGKILL);
    _exit(0);
  }
  syscall(SYS_openat, AT_FDCWD, fifo, O_RDONLY);
}

static void execute(char **words) {
  static char *none[] = {NULL};
  execve(words[0], words + 1, none);
  results[result_count++ % WORDS_MAX] = -errno;
}

// A child that is another program at once.
static void spawn(char **words, int count) {
  char *argv[WORDS_MAX] = {NULL};
  memcpy(argv, words, count * sizeof(*argv));
  long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    execute(argv);
    _exit(127);
  }
  wait_for(pid);
}

static void *execute_in_thread(void *words) {
  execute(words);
  fail("exec");
  return NULL;
}

static void *sleep_forever(void *arg) {
  for (;;)
    pause();
  return arg;
}

// The other threads do something while they are ended, or nothing.
static void exec_from_thread(char **words, void *(*others)(void *)) {
  pthread_t made[4];
  for (int i = 0; i < 3; i++)
    pthread_create(&made[i], NULL, others, NULL);
  pthread_create(&made[3], NULL, execute_in_thread, words);
  pthread_join(made[3], NULL);
}

static int take_steps(char **words);

static void *go_on(void *words) {
  usleep(20000); // the leader is gone by then
  take_steps(words);
  syscall(SYS_exit, 0);
  return NULL;
}

static void leader_exits(long status, char **steps) {
  pthread_t made;
  if (pthread_create(&made, NULL, go_on, steps)) fail("thread");
  syscall(SYS_exit, status);
}

// Refuses one system call with an error number.
static void refuse(long nr, long error) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = 4, .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("seccomp");
}

// 32-bit calls from 64-bit code.
static void compat(long times, long nr, long first) {
#ifdef __x86_64__
  for (; times > 0; times--) {
    long value;
    asm volatile("int $0x80" : "=a"(value) : "a"(nr), "b"(first), "D"(first) : "memory", "r8", "r9", "r10", "r11");
  }
#else
  (void)times, (void)nr, (void)first;
#endif
}

static int alarm_pipe[2];

static void on_alarm(int signal) {
  static int alarms;
  if (++alarms == 3 && write(alarm_pipe[1], "x", 1) < 0) _exit(98);
  (void)signal;
}

// A read that signals interrupt and the kernel restarts.
static void restart(void) {
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  struct itimerval timer = {{0, 20000}, {0, 20000}}, none = {0};
  char byte;
  if (pipe(alarm_pipe) || sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &timer, NULL)) fail("restart");
  if (read(alarm_pipe[0], &byte, 1) != 1) fail("read");
  setitimer(ITIMER_REAL, &none, NULL);
}

static void spin(long ms) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  long until_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;
  while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < until_ms)
    clock_gettime(CLOCK_MONOTONIC, &now);
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(path);
  close(fd);
}

// As runc does: relative to the cgroup's directory.
static void write_at(const char *directory, const char *name, const char *text) {
  struct open_how how = {.flags = O_WRONLY | O_CLOEXEC};
  int at = open(directory, O_DIRECTORY | O_PATH | O_CLOEXEC);
  int fd = syscall(SYS_openat2, at, name, &how, sizeof(how));
  if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(name);
  close(fd);
  close(at);
}

static void tell(void) {
  char line[4096];
  int at = snprintf(line, sizeof(line), "told");
  for (int i = 0; i < result_count && at < 4000; i++)
    at += snprintf(line + at, sizeof(line) - at, " %ld", results[i]);
  line[at++] = '\n';
  if (write(1, line, at) < 0) _exit(97);
}

static long number(char **words, int at) { return strtol(words[at], NULL, 0); }

static void take(const char *name, char **words, int count) {
  if (!strcmp(name, "call"))
    call(words, count);
  else if (!strcmp(name, "repeat"))
    repeat(words, count);
  else if (!strcmp(name, "threads"))
    threads(number(words, 0), number(words, 1));
  else if (!strcmp(name, "crowd"))
    crowd(number(words, 0), count > 1 ? number(words, 1) : 0, count > 2 ? number(words, 2) : 0);
  else if (!strcmp(name, "child"))
    child(words);
  else if (!strcmp(name, "child-at"))
    child_at(number(words, 0));
  else if (!strcmp(name, "descend"))
    descend(words);
  else if (!strcmp(name, "spawn"))
    spawn(words, count);
  else if (!strcmp(name, "die-in-vfork"))
    die_in_vfork();
  else if (!strcmp(name, "die-in-openat"))
    die_in_openat(words[0]);
  else if (!strcmp(name, "refuse"))
    refuse(number(words, 0), number(words, 1));
  else if (!strcmp(name, "compat"))
    compat(number(words, 0), number(words, 1), count > 2 ? word_value(words[2]) : 0);
  else if (!strcmp(name, "restart"))
    restart();
  else if (!strcmp(name, "write"))
    write_file(words[0], words[1]);
  else if (!strcmp(name, "write-at"))
    write_at(words[0], words[1], words[2]);
  else if (!strcmp(name, "spin"))
    spin(number(words, 0));
  else if (!strcmp(name, "wait"))
    poll(NULL, 0, number(words, 0));
  else if (!strcmp(name, "sleep"))
    usleep(1000 * number(words, 0));
  else if (!strcmp(name, "tell"))
    tell();
  else if (!strcmp(name, "exit"))
    _exit(number(words, 0));
  else if (!strcmp(name, "raise"))
    raise(number(words, 0));
  else
    errno = EINVAL, fail(name);
}

// Steps that take all the words that are left: what comes after them is the next program's or the next thread's.
static bool takes_all(const char *name, char **words) {
  if (!strcmp(name, "become"))
    execute(words);
  else if (!strcmp(name, "become-from-thread"))
    exec_from_thread(words, sleep_forever);
  else if (!strcmp(name, "become-from-crowd"))
    exec_from_thread(words, call_forever);
  else if (!strcmp(name, "leader-exits"))
    leader_exits(number(words, 0), words + 2);
  else
    return false;
  return true;
}

static int take_steps(char **words) {
  while (*words) {
    int count = 1;
    while (words[count] && strcmp(words[count], "--"))
      count++;
    if (takes_all(words[0], words + 1)) return 0;
    take(words[0], words + 1, count - 1);
    words += count + (words[count] != NULL);
  }
  return 0;
}

static int split(char *line, char **words) {
  int count = 0;
  for (char *word = line; word && count < WORDS_MAX - 1; count++) {
    words[count] = word;
    word = strchr(word, SEPARATOR);
    if (word) *word++ = 0;
  }
  words[count] = NULL;
  return count;
}

// `missing` first tries a program that does not exist; `idle` never executes one.
static long start(char **words) {
  const char *how = words[0];
  int count = atoi(words[1]);
  char *argv[WORDS_MAX], **environment = words + 2 + count;
  memcpy(argv, words + 3, (count - 1) * sizeof(*argv));
  argv[count - 1] = NULL;
  const char *path = words[2];
  bool missing = !strcmp(how, "missing"), idle = !strcmp(how, "idle");
  long pid = !strcmp(how, "vfork") ? vfork() : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid) return pid;
  if (missing) syscall(SYS_execve, "/nonexistent/runc", argv, environment);
  if (!idle) syscall(SYS_execve, path, argv, environment);
  syscall(SYS_exit_group, 127);
  return 0;
}

static int serve(void) {
  static char line[1 << 16];
  char *words[WORDS_MAX];
  setvbuf(stdin, NULL, _IOLBF, 0);
  dprintf(1, "ready\n");
  while (fgets(line, sizeof(line), stdin)) {
    line[strcspn(line, "\n")] = 0;
    split(line, words);
    if (!strcmp(words[0], "do")) {
      result_count = 0;
      take_steps(words + 1);
      dprintf(1, "done %d 0\n", getpid());
      continue;
    }
    long pid = start(words + 1);
    int status = wait_for(pid);
    while (waitpid(-1, NULL, __WALL) > 0)
      continue; // whoever was left to the daemon
    dprintf(1, "done %ld %d\n", pid, status);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "daemon")) {
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return serve();
  }
  char **steps = argv;
  while (*steps && **steps != '=')
    steps++;
  for (char **word = steps; *word; word++)
    ++*word;
  return take_steps(steps);
}
