// Processes that do nothing, as those of pods. Arguments: the roots of the cgroup hierarchies. Each line of input is a pod: the paths
// of its containers' cgroups, in each of which a process comes to sleep. A pod's have one network namespace with one device, each
// container its own mount namespace. Says `joined` for each and `ready` after the last line, and all end with it, or it with the first.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

static void refuse(const char *what) {
  perror(what);
  exit(1);
}

static void lose(int signal) {
  (void)signal;
  _exit(1);
}

static void join(const char *root, const char *path) {
  char file[4096];
  snprintf(file, sizeof file, "%s%s/cgroup.procs", root, path);
  int fd = open(file, O_WRONLY);
  if (fd < 0 || write(fd, "0", 1) != 1) refuse(file);
  close(fd);
}

// Open for as long as the processes that inherit it live; without /dev/net/tun the pod has its loopback alone.
static void add_device(void) {
  struct ifreq device = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "eth0"};
  int fd = open("/dev/net/tun", O_RDWR);
  if (fd >= 0 && ioctl(fd, TUNSETIFF, &device) < 0) refuse("TUNSETIFF");
}

int main(int count, char **roots) {
  signal(SIGCHLD, lose);
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, stdin) > 0) {
    if (unshare(CLONE_NEWNET)) refuse("unshare");
    add_device();
    for (char *path = strtok(line, " \n"); path; path = strtok(NULL, " \n")) {
      if (fork()) continue;
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (int at = 1; at < count; at++)
        join(roots[at], path);
      if (unshare(CLONE_NEWNS)) refuse("unshare");
      puts("joined");
      fflush(stdout);
      for (;;)
        pause();
    }
  }
  puts("ready");
  fflush(stdout);
  pause();
}
