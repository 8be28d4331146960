// The registers a raw system-call tracepoint points to (arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h).
#if defined(TARGET_x86_64)
struct registers {
  u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define SYSCALL_NR(r) ((r)->orig_ax)
#define ARG0(r) ((r)->di)
#define ARG1(r) ((r)->si)
#define ARG2(r) ((r)->dx)
#define ARG3(r) ((r)->r10)
#define ARG4(r) ((r)->r8)
#define ARG5(r) ((r)->r9)
#define COMPAT_ARG0(r) ((u64)(u32)(r)->bx)
#define COMPAT_ARG1(r) ((u64)(u32)(r)->cx)
#define FIRST_ARGUMENT 14 // of a function, among the kernel's words

static __always_inline void read_registers(struct registers *r, u64 from) {
  bpf_probe_read_kernel(r, sizeof(*r), (void *)from);
}
#elif defined(TARGET_aarch64)
struct registers {
  u64 x[6], orig_x0, syscallno;
};
#define SYSCALL_NR(r) ((u64)(u32)(r)->syscallno)
#define ARG0(r) ((r)->orig_x0)
#define ARG1(r) ((r)->x[1])
#define ARG2(r) ((r)->x[2])
#define ARG3(r) ((r)->x[3])
#define ARG4(r) ((r)->x[4])
#define ARG5(r) ((r)->x[5])
#define COMPAT_ARG0(r) ARG0(r)
#define COMPAT_ARG1(r) ARG1(r)
#define FIRST_ARGUMENT 0

// Only what is of use: all 36 words, twice in one program, do not fit on BPF's stack of 512 bytes. Between them are x6 to x30, sp, pc and pstate.
static __always_inline void read_registers(struct registers *r, u64 from) {
  bpf_probe_read_kernel(r->x, sizeof(r->x), (void *)from);
  bpf_probe_read_kernel(&r->orig_x0, 2 * sizeof(u64), (void *)from + 34 * sizeof(u64));
}
#else
#error "no register layout for this architecture"
#endif
