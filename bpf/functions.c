// How often does a container call a function of the kernel, and how long does that take? The functions are told apart by the cookie that
// they were attached with: their place in the list, from 1 on.
#ifdef FUNCTIONS

// What runs in an interrupt counts for whom it interrupts: nothing tells the two apart on all kernels.
int function_entry(struct bpf_raw_tracepoint_args *ctx) {
  u64 self = own_task();
  u32 slot = own_slot(self), tid = own_thread_id(self), at = bpf_get_attach_cookie(ctx) - 1;
  if (slot == NO_SLOT || at >= FUNCTIONS || is_watched(tid)) return 0;
  u32 row = slot * FUNCTIONS + at;
  struct function_calls *counted = function_calls.lookup(&row);
  if (!counted) return 0;
  __sync_fetch_and_add(&counted->calls, 1);
  u64 key = (u64)tid << 32 | at;
  struct function_begun *begun = function_begun.lookup(&key);
  if (begun) { // it calls itself: the outermost call is timed
    begun->depth++;
    return 0;
  }
  struct function_begun fresh = {.since_ns = bpf_ktime_get_ns(), .row = row};
  if (function_begun.update(&key, &fresh)) MISS(durations);
  return 0;
}

int function_return(struct bpf_raw_tracepoint_args *ctx) {
  u64 key = (u64)own_thread_id(own_task()) << 32 | (u32)(bpf_get_attach_cookie(ctx) - 1);
  struct function_begun *begun = function_begun.lookup(&key);
  if (!begun) return 0;
  if (begun->depth) {
    begun->depth--;
    return 0;
  }
  u64 ns = bpf_ktime_get_ns() - begun->since_ns;
  u32 row = begun->row, bucket = wait_bucket(ns);
  function_begun.delete(&key);
  struct function_calls *counted = function_calls.lookup(&row);
  if (!counted) return 0;
  __sync_fetch_and_add(&counted->sum_ns, ns);
  if (bucket <= WAIT_BOUNDS) __sync_fetch_and_add(&counted->counts[bucket], 1);
  return 0;
}

#endif
