// Whose network namespace is this? Known by its address and its cookie: an address is given out again, a cookie never (net_cookie, since
// Linux 5.12; before, the address alone). Nothing is kept of the node's own network, nor of pods that use it.
#ifdef DROPS

struct networks {
  u64 node;    // the address of the node's own
  u64 refused; // of pods, because there was no room
  u64 unknown; // packets dropped of which nothing tells the network any more
};

struct pod_network {
  u64 cookie;
  u64 pod; // cgroup id of the pod's own cgroup
};

// What no row of its own is kept for. A pod has no more kinds of drops than KINDS_MAX; its sum is exact all the same.
struct pod_drops {
  u64 others[2]; // by enum side
  u64 kinds;
  u64 ended; // the pod's cgroup is gone: user space forgets it once it has taken the last values
};

BPF_ARRAY(networks, struct networks, 1);
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

static __always_inline struct networks *all_networks(void) {
  u32 zero = 0;
  return networks.lookup(&zero);
}

// `pod` 0: the node itself.
static __always_inline u32 learn(u64 net, u64 pod) {
  struct networks *n = all_networks();
  if (!n) return NODE_UNKNOWN;
  if (!pod) {
    n->node = net;
    return LEARNED;
  }
  if (!n->node) return NODE_UNKNOWN;
  if (net == n->node) return OF_NODE;
  struct pod_drops none = {};
  struct pod_network known = {.cookie = cookie_of(net), .pod = pod};
  pod_drops.insert(&pod, &none);
  if (pod_drops.lookup(&pod) && !pod_networks.update(&net, &known)) return LEARNED;
  __sync_fetch_and_add(&n->refused, 1);
  return NO_ROOM;
}

#define CGROUPS_ABOVE 4 // from where a container's program runs to its pod: crun puts one directory more between

// A container's entry point runs: in the network of its pod.
static __always_inline void learn_own_network(u64 task) {
  u64 cgroup = pods_cgroup_of(task);
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

static __always_inline void end_network(u64 pod) {
  struct pod_drops *drops = pod_drops.lookup(&pod);
  if (drops) drops->ended = 1;
}

#else
static __always_inline void learn_own_network(u64 task) {}
static __always_inline void end_network(u64 pod) {}
#endif
