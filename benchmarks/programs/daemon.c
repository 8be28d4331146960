// A runtime daemon as small as can be: forks, executes its arguments in the child, waits. Under the name of a runtime's executable it
// is one to the agent, and a child whose arguments say `create` begins a birth.
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count < 2) return 2;
  pid_t child = fork();
  if (child == 0) {
    execv(arguments[1], arguments + 1);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
