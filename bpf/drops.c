// Which packets of a pod does the kernel drop, why and where? The pod is the one whose network the packet's device is in; on the host's
// side the one that the device's other end is in; else the one of its socket, or of the device that it is routed to.
#ifdef DROPS

enum side { POD_SIDE = 0, HOST_SIDE };

struct drop {
  u64 pod;
  u64 location;
  u32 reason; // enum skb_drop_reason
  u32 side;
};

struct symbol {
  char name[64];
};

BPF_HASH(drops, struct drop, u64, DROPS_MAX);
BPF_HASH(drop_locations, u64, struct symbol, 1024);
BPF_F_TABLE("array", u32, u64, symbol_format, 1, BPF_F_RDONLY_PROG); // "%ps", written and frozen by the loader

// The kernel itself tells a symbol, so that no address need be looked up, and none leaves it.
static __always_inline void name_location(u64 location) {
#ifdef HAS_SNPRINTF
  u32 zero = 0;
  u64 *format = symbol_format.lookup(&zero);
  if (!format || drop_locations.lookup(&location)) return;
  struct symbol symbol = {};
  bpf_snprintf(symbol.name, sizeof(symbol.name), (const char *)format, &location, sizeof(location));
  drop_locations.update(&location, &symbol);
#endif
}

static __always_inline u64 *first_of_kind(struct drop *key) {
  struct pod_drops *pod = pod_drops.lookup(&key->pod);
  if (!pod) return NULL; // user space has done with this pod
  if (pod->kinds < KINDS_MAX) {
    u64 zero = 0;
    if (!drops.insert(key, &zero)) {
      __sync_fetch_and_add(&pod->kinds, 1);
      name_location(key->location);
    }
    u64 *count = drops.lookup(key);
    if (count) return count;
  }
  return &pod->others[key->side & 1];
}

static __always_inline void count_drop(struct drop *key) {
  u64 *count = drops.lookup(key);
  if (!count) count = first_of_kind(key);
  if (count) __sync_fetch_and_add(count, 1);
}

static __always_inline u64 network_of(u64 device) { return device ? read64(device + NET_DEVICE_ND_NET) : 0; }

// The other end of a veth or netkit device (drivers/net/veth.c, netkit.c: what is private to them begins with it), 0 for any other.
static __always_inline u64 peer_of(u64 device) {
  u64 kind = 0, operations = device ? read64(device + NET_DEVICE_RTNL_LINK_OPS) : 0;
  if (!operations) return 0;
  bpf_probe_read_kernel(&kind, sizeof(kind), (void *)read64(operations + RTNL_LINK_OPS_KIND));
  bool is_pair =
      kind << 24 == WORD(0, 0, 0, 'v', 'e', 't', 'h', 0) || kind << 8 == WORD(0, 'n', 'e', 't', 'k', 'i', 't', 0);
  return is_pair ? read64(device + NET_DEVICE_PRIV) : 0;
}

static __always_inline bool find_by_device(struct drop *key, u64 device) {
  key->side = POD_SIDE;
  key->pod = pod_of(network_of(device));
  if (key->pod) return true;
  key->side = HOST_SIDE;
  key->pod = pod_of(network_of(peer_of(device)));
  return key->pod;
}

static __always_inline bool find_by_socket(struct drop *key, u64 device, u64 sock) {
  struct networks *n = all_networks();
  u64 net = network_of(device);
  key->side = n && net && net == n->node ? HOST_SIDE : POD_SIDE;
  key->pod = pod_of(read64(sock + SOCK_COMMON_SKC_NET));
  return key->pod;
}

// The device that a packet is to go to, or for what has arrived the loopback of its network.
static __always_inline u64 routed_to(u64 skb) {
  u64 route =
      read64(skb + SK_BUFF__SKB_REFDST) & ~7ULL; // the lowest bits are flags (include/linux/skbuff.h: SKB_DST_NOREF)
  return route ? read64(route + DST_ENTRY_DEV) : 0;
}

// Messages between processes, and between them and the kernel, are no packets.
static __always_inline bool is_local(u64 sock) {
  u16 family = 0;
  bpf_probe_read_kernel(&family, sizeof(family), (void *)(sock + SOCK_COMMON_SKC_FAMILY));
  return family == 1 || family == 16; // AF_UNIX, AF_NETLINK
}

static __always_inline u64 socket_of(struct bpf_raw_tracepoint_args *ctx) {
#ifdef KFREE_SKB_RX_SK
  if (ctx->args[KFREE_SKB_RX_SK]) return ctx->args[KFREE_SKB_RX_SK];
#endif
  return read64(ctx->args[0] + SK_BUFF_SK);
}

// kfree_skb(struct sk_buff *skb, void *location[, enum skb_drop_reason reason[, struct sock *rx_sk]]) (net/core/skbuff.c).
//
// Of a packet that was in a socket's queue, the device's place holds something else (struct sk_buff: rbnode, dev_scratch). Whatever is
// read by that, no network is found: its address and its cookie must both be right.
int on_kfree_skb(struct bpf_raw_tracepoint_args *ctx) {
  struct drop key = {.location = ctx->args[1]};
#ifdef KFREE_SKB_REASON
  key.reason = ctx->args[KFREE_SKB_REASON];
#endif
#ifdef SKB_CONSUMED
  if (key.reason == SKB_CONSUMED) return 0;
#endif
  u64 skb = ctx->args[0], device = read64(skb + SK_BUFF_DEV);
  if (find_by_device(&key, device)) {
    count_drop(&key);
    return 0;
  }
  u64 sock = socket_of(ctx);
  if (sock && is_local(sock)) return 0;
  u64 next = routed_to(skb);
  if ((sock && find_by_socket(&key, device, sock)) || find_by_device(&key, next)) {
    count_drop(&key);
  } else if (!sock && !network_of(device) && !network_of(next)) {
    struct networks *n = all_networks();
    if (n) __sync_fetch_and_add(&n->unknown, 1);
  }
  return 0;
}

// Run by the agent with a descriptor of a network namespace and the cgroup id of the pod that uses it, 0 for the node.
int learn_network(struct bpf_raw_tracepoint_args *ctx) {
  u64 file = file_of(ctx->args[0]);
  u64 ns = read64(read64(file + FILE_F_INODE) + INODE_I_PRIVATE);                      // fs/nsfs.c
  return magic_of(file) == 0x6e736673 ? learn(ns - NET_NS, ctx->args[1]) : NO_NETWORK; // NSFS_MAGIC
}

#endif
