// Whose network namespace is this? Known by its address and its cookie: an address is given out again, a cookie never (net_cookie, since
// Linux 5.12; before, the address alone). Nothing is kept of the node's own network, nor of pods that use it.
#ifdef DROPS

struct pod_network {
  u64 cookie;
  u64 pod; // cgroup id of the pod's own cgroup
};

// What no row of its own is kept for. A pod has no more kinds of drops than KINDS_MAX; its sum is exact all the same.
struct pod_drops {
  u64 others[2]; // by enum side
  u64 kinds;
};

BPF_ARRAY(node_network, u64, 1);
BPF_HASH(pod_networks, u64, struct pod_network, NETWORKS_MAX);
BPF_HASH(pod_drops, u64, struct pod_drops, NETWORKS_MAX);

enum learned { LEARNED = 0, OF_NODE, NODE_UNKNOWN, NO_NETWORK, NO_ROOM };

static __always_inline u64 cookie_of(u64 net) {
#ifdef NET_NET_COOKIE
  return read64(net + NET_NET_COOKIE);
#else
  return 0;
#endif
}

// `pod` 0: the node itself.
static __always_inline u32 learn(u64 net, u64 pod) {
  u32 zero = 0;
  u64 *node = node_network.lookup(&zero);
  if (!node) return NODE_UNKNOWN;
  if (!pod) {
    *node = net;
    return LEARNED;
  }
  if (!*node) return NODE_UNKNOWN;
  if (net == *node) return OF_NODE;
  struct pod_drops none = {};
  pod_drops.insert(&pod, &none);
  if (!pod_drops.lookup(&pod)) return NO_ROOM;
  struct pod_network known = {.cookie = cookie_of(net), .pod = pod};
  return pod_networks.update(&net, &known) ? NO_ROOM : LEARNED;
}

#define CGROUPS_ABOVE 4 // from where a container's program runs to its pod: crun puts one directory more between

// A container's entry point runs: in the network of its pod. Where there is no room, user space tells when it tries.
static __always_inline void learn_own_network(u64 task) {
  u64 cgroup = read64(read64(task + TASK_STRUCT_CGROUPS) + CSS_SET_DFL_CGRP);
#pragma unroll
  for (int i = 0; i < CGROUPS_ABOVE; i++) {
    u64 id = id_of(cgroup);
    u32 *level = pod_cgroups.lookup(&id);
    if (!level) return;
    if (*level == 1) {
      learn(read64(read64(task + TASK_STRUCT_NSPROXY) + NSPROXY_NET_NS), id);
      return;
    }
    cgroup = read64(cgroup + CGROUP_SELF + CGROUP_SUBSYS_STATE_PARENT) - CGROUP_SELF;
  }
}

static __always_inline u64 pod_of(u64 net) {
  if (!net) return 0;
  struct pod_network *known = pod_networks.lookup(&net);
  return known && known->cookie == cookie_of(net) ? known->pod : 0;
}

#else
static __always_inline void learn_own_network(u64 task) {}
#endif
