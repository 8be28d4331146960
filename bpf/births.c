// How are pods born? All programs and maps of the birth trace, as one BCC module.
//
// The loader replaces each #include "..." below by the file's text (BCC rewrites map accesses in the main file only) and compiles with
// -D<STRUCT>_<MEMBER>=<offset> for each kernel struct member used, taken from the running kernel's BTF. No kernel headers are needed.
#include <linux/types.h>
#include <uapi/asm/unistd.h>
#include <uapi/linux/sched.h>
#include <uapi/linux/mount.h>

#include "include/registers.h"
#include "include/kernel.h"
#include "include/record.h"
#include "include/path.h"
#include "include/shape.h"
#include "include/process.h"
#include "include/slot.h"
#include "include/life.h"
#include "include/throttling.h"

// The compiler is the longest part of a start, so two of them share the work: each makes one half of the programs.
#ifdef CALLS_HALF
#include "container_calls.c"
#include "call_details.c"
#include "calls.c"
#else
#include "include/network.h"
#include "life.c"
#include "sched.c"
#include "lineage.c"
#include "exec.c"
#include "daemons.c"
#include "cgroups.c"
#include "throttling.c"
#include "throttle_stacks.c"
#include "functions.c"
#include "drops.c"
#endif
