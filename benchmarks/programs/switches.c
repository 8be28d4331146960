// What does a context switch cost? Two processes on one CPU hand each other a byte over pipes, so that each hand-over is a switch. For each
// line that it reads one prints the nanoseconds of one switch, of the fastest of some batches: what else runs is no part of a switch.
//
// All is told by the environment: BATCHES, SWITCHES (of a batch), CGROUP (a directory to join first, optional).
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long number_of(const char *name) {
  const char *value = getenv(name);
  return value ? atol(value) : 0;
}

static long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000L + now.tv_nsec;
}

static int join(const char *directory) {
  int cgroup = open(directory, O_DIRECTORY | O_CLOEXEC);
  int members = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  return write(members, "0", 1) == 1 ? 0 : -1;
}

static int stay_on_one_cpu(void) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  return sched_setaffinity(0, sizeof(one), &one);
}

static void hand_over(int to, int from, long times) {
  char byte = 0;
  for (long i = 0; i < times; i++)
    if (write(to, &byte, 1) != 1 || read(from, &byte, 1) != 1) exit(1);
}

int main(void) {
  const char *cgroup = getenv("CGROUP");
  long switches = number_of("SWITCHES");
  int there[2], back[2];
  if ((cgroup && join(cgroup)) || stay_on_one_cpu() || pipe(there) || pipe(back)) {
    perror("switches");
    return 1;
  }
  pid_t other = fork();
  if (other == 0) {
    char byte;
    while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
      continue;
    _exit(0);
  }
  for (int asked = getchar(); asked == '\n'; asked = getchar()) {
    long fastest_ns = -1;
    for (long batch = number_of("BATCHES"); batch > 0; batch--) {
      long began_ns = now_ns();
      hand_over(there[1], back[0], switches / 2);
      long took_ns = now_ns() - began_ns;
      if (fastest_ns < 0 || took_ns < fastest_ns) fastest_ns = took_ns;
    }
    printf("%.2f\n", (double)fastest_ns / switches);
    fflush(stdout);
  }
  kill(other, SIGKILL);
  waitpid(other, NULL, 0);
  return 0;
}
