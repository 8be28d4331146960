// What does a dropped packet cost? Sends frames over the loopback device that no protocol takes and prints the nanoseconds of one, from
// its sending to its drop, for each batch on a line.
//
// All is told by the environment: NETWORK (a network namespace to join first), BATCHES, PACKETS (of a batch, in hundreds).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define AT_ONCE 100
#define NOBODYS 0x88b5 // an EtherType for experiments (IEEE 802)

static long number_of(const char *name) {
  const char *value = getenv(name);
  return value ? atol(value) : 0;
}

static long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000L + now.tv_nsec;
}

int main(void) {
  const char *network = getenv("NETWORK");
  if (!network || setns(open(network, O_RDONLY | O_CLOEXEC), CLONE_NEWNET)) {
    perror("drops");
    return 1;
  }
  int sender = socket(AF_PACKET, SOCK_DGRAM, 0); // protocol 0: it receives nothing itself
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(NOBODYS), .sll_ifindex = if_nametoindex("lo"), .sll_halen = 6};
  char payload[64] = {0};
  struct iovec data = {payload, sizeof(payload)};
  struct mmsghdr frames[AT_ONCE];
  for (int i = 0; i < AT_ONCE; i++)
    frames[i].msg_hdr =
        (struct msghdr){.msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &data, .msg_iovlen = 1};
  long packets = number_of("PACKETS") / AT_ONCE * AT_ONCE;
  for (long batch = number_of("BATCHES"); batch > 0; batch--) {
    long began = now_ns();
    for (long i = 0; i < packets; i += AT_ONCE)
      if (sendmmsg(sender, frames, AT_ONCE, 0) != AT_ONCE) {
        perror("drops");
        return 1;
      }
    printf("%.2f\n", (double)(now_ns() - began) / packets);
  }
  return 0;
}
