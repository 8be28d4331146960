// What does a system call cost? Makes one call over and over and prints the nanoseconds of one call, for each batch on a line.
//
// All is told by the environment, because the arguments are what makes this program a birth task: CALL (getppid, unshare, umount2),
// BATCHES, CALLS (of a batch), PAUSE_MS (after a batch), CGROUP (a directory to join first, optional).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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

static void call(const char *name, long calls) {
  if (!strcmp(name, "getppid"))
    for (long i = 0; i < calls; i++)
      syscall(SYS_getppid);
  else if (!strcmp(name, "unshare")) // changes nothing
    for (long i = 0; i < calls; i++)
      syscall(SYS_unshare, 0);
  else if (!strcmp(name, "umount2")) // is not there
    for (long i = 0; i < calls; i++)
      syscall(SYS_umount2, "/nowhere/a/path/of/usual/length/as/in/runc", 0);
  else
    exit(2);
}

int main(void) {
  const char *cgroup = getenv("CGROUP"), *name = getenv("CALL");
  long calls = number_of("CALLS"), pause_ms = number_of("PAUSE_MS");
  if (!name || (cgroup && join(cgroup))) {
    perror("calls");
    return 1;
  }
  struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
  call(name, calls / 10);
  for (long batch = number_of("BATCHES"); batch > 0; batch--) {
    long began = now_ns();
    call(name, calls);
    printf("%.2f\n", (double)(now_ns() - began) / calls);
    if (pause_ms) nanosleep(&pause, NULL);
  }
  return 0;
}
