// Which container does this task count for? A slot for each container's cgroup, given when that is made, so that its first calls count.
// Every look-up is by the id of the running task's cgroup in the hierarchy of pods.
#ifdef COUNT_LIFE

#define NO_SLOT 0xffffffff

// A bucket is one word, so that whoever reads it sees all of it or nothing: cgroup id << SLOT_BITS | SHARED | slot.
#define SLOT_BITS 12
#define SHARED (1ULL << (SLOT_BITS - 1)) // further cgroups fall into this bucket: they are only in `slots` or `nested`
#define SLOT_MASK (SHARED - 1)

struct owner {
  u64 cgroup_id; // the container's; 0: nobody has this slot
  u64 pod_id;    // that of the cgroup above it
  u64 is_gone;   // the cgroup was removed: what was counted is all
  u64 error_kinds;
  u64 path_kinds;
};

// What found no room, and so is not counted.
struct uncounted {
  u64 containers;
  u64 nested_cgroups;
  u64 waits;
  u64 durations;
};

// Direct-mapped by cgroup id: a look-up in an array is inlined by the verifier, one in a hash is a call.
BPF_ARRAY(buckets, u64, BUCKETS);
BPF_HASH(slots, u64, u32, SLOTS_MAX);
BPF_HASH(nested, u64, u32, NESTED_MAX); // cgroups below a container's: a container may make as many as it likes
BPF_F_TABLE("array", u32, struct owner, owners, SLOTS_MAX, BPF_F_MMAPABLE);
BPF_QUEUE(free_slots, u32, SLOTS_MAX); // user space puts a slot back once it has the last counts
BPF_ARRAY(uncounted, struct uncounted, 1);

static __always_inline struct uncounted *of_uncounted(void) {
  u32 zero = 0;
  return uncounted.lookup(&zero);
}

#define MISS(what)                                                                                                     \
  do {                                                                                                                 \
    struct uncounted *uncounted_ = of_uncounted();                                                                     \
    if (uncounted_) __sync_fetch_and_add(&uncounted_->what, 1);                                                        \
  } while (0)

static __always_inline u32 *slot_by_id(u64 cgroup_id) {
  u32 *slot = slots.lookup(&cgroup_id);
  return slot ? slot : nested.lookup(&cgroup_id);
}

static __always_inline u32 slot_of(u64 cgroup_id) {
  u32 at = cgroup_id & (BUCKETS - 1);
  u64 *bucket = buckets.lookup(&at);
  if (!bucket) return NO_SLOT;
  u64 word = *bucket;
  if (word >> SLOT_BITS == cgroup_id) return word & SLOT_MASK;
  if (!(word & SHARED)) return NO_SLOT;
  u32 *slot = slot_by_id(cgroup_id);
  return slot ? *slot : NO_SLOT;
}

// Where is the running task?
static __always_inline u32 own_slot(u64 self) { return slot_of(own_cgroup_id(self)); }

static __always_inline void enter_bucket(u64 cgroup_id, u32 slot) {
  u32 at = cgroup_id & (BUCKETS - 1);
  u64 *bucket = buckets.lookup(&at);
  if (!bucket) return;
  u64 word = *bucket;
  bool fits = cgroup_id >> (64 - SLOT_BITS) == 0, is_free = word >> SLOT_BITS == 0;
  if (fits && is_free) {
    u64 own = cgroup_id << SLOT_BITS | (word & SHARED) | slot;
    if (__sync_val_compare_and_swap(bucket, word, own) == word) return;
  }
  __sync_fetch_and_or(bucket, SHARED); // two may be made at once: whoever comes second is found by its id
}

static __always_inline void leave_bucket(u64 cgroup_id) {
  u32 at = cgroup_id & (BUCKETS - 1);
  u64 *bucket = buckets.lookup(&at);
  if (bucket && *bucket >> SLOT_BITS == cgroup_id) __sync_fetch_and_and(bucket, SHARED);
}

// A cgroup was made below a pod's, or further down. What no slot was given to has none below it, either.
static __always_inline void give_slot(u64 cgroup_id, u64 above_id, bool is_below_pod) {
  if (slot_by_id(cgroup_id)) return;
  u32 slot = NO_SLOT;
  if (is_below_pod) {
    if (free_slots.pop(&slot)) {
      MISS(containers);
      return;
    }
    struct owner *owner = owners.lookup(&slot);
    if (!owner) return;
    owner->pod_id = above_id;
    owner->cgroup_id = cgroup_id;
    slots.update(&cgroup_id, &slot);
  } else {
    u32 *above = slot_by_id(above_id);
    if (!above) return;
    slot = *above;
    if (nested.update(&cgroup_id, &slot)) {
      MISS(nested_cgroups);
      return;
    }
  }
  enter_bucket(cgroup_id, slot);
}

// The cgroup was removed: nothing runs in it any more.
static __always_inline void take_slot(u64 cgroup_id) {
  u32 *found = slots.lookup(&cgroup_id);
  u32 slot = found ? *found : NO_SLOT;
  leave_bucket(cgroup_id);
  nested.delete(&cgroup_id);
  slots.delete(&cgroup_id);
  struct owner *owner = owners.lookup(&slot);
  if (owner) owner->is_gone = 1;
}

#else
static __always_inline void give_slot(u64 cgroup_id, u64 above_id, bool is_below_pod) {}
static __always_inline void take_slot(u64 cgroup_id) {}
#endif
