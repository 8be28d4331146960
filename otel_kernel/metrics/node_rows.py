"""The catalogue's rows of networks, births and the agent."""

from functools import partial

from otel_kernel.metrics.row import BPF, NOTHING, ONE_FILE, PROC, Metric

START_BOUNDS_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
STEP_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
LAG_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SOURCE_LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

_COMPLETION = "otel_kernel.birth.completion"

_births = partial(Metric, level="node", group="births", source="births", needs="", cost=NOTHING)
_agent = partial(Metric, level="node", group="agent", source="agent", needs="", cost=NOTHING)
_total = partial(_agent, kind="sum")
_amount = partial(_agent, kind="updowncounter")
_program = partial(
    _total,
    attributes=("otel_kernel.bpf.program",),
    needs=f"{BPF}, CAP_SYS_ADMIN",
    opt_in="OTEL_KERNEL_BPF_STATS",
    cost="two clock readings at each run",
)

DEVICES = tuple(
    Metric(
        f"k8s.pod.network.{what}",
        "pod",
        "network",
        "sum",
        unit,
        f"{description} of the pod's network devices, the loopback not among them; none for hostNetwork",
        "procfs",
        PROC,
        ONE_FILE,
        ("network.interface.name", "network.io.direction"),
    )
    for what, unit, description in (("io", "By", "bytes"), ("errors", "{error}", "errors"))
)

BIRTHS = (
    _births(
        "otel_kernel.pod.start.duration",
        kind="histogram",
        unit="s",
        description="first event of a pod to its last entry point, of births seen from their start; exemplars: births",
        attributes=("k8s.namespace.name", _COMPLETION),
        bounds=START_BOUNDS_S,
    ),
    _births(
        "otel_kernel.pod.start.step.duration",
        kind="histogram",
        unit="s",
        description="each step of the same births, by name: units by kind, the processes that built them (`runc "
        "create`, `ptp`), and `untraced`, what lies in none; names beyond 24 are `_OTHER`; exemplars: births",
        attributes=("otel_kernel.step.name",),
        bounds=STEP_BOUNDS_S,
    ),
    _births("otel_kernel.births", kind="sum", unit="{birth}", description="pods born", attributes=(_COMPLETION,)),
)

PROGRAMS = (
    _program("otel_kernel.agent.bpf.program.runs", unit="{run}", description="runs of each BPF program"),
    _program(
        "otel_kernel.agent.bpf.program.run.time",
        unit="s",
        description="time in each BPF program, those it goes on to (tail calls) with it",
    ),
    _program(
        "otel_kernel.agent.bpf.program.misses",
        unit="{run}",
        description="runs of each BPF program that the kernel skipped because that CPU was just running it",
    ),
)

AGENT = (
    _total(
        "otel_kernel.agent.events.received",
        unit="{event}",
        description="records of the kernel that reached the agent",
        needs=BPF,
    ),
    _total(
        "otel_kernel.agent.events.lost",
        unit="{event}",
        description="what the agent should have been told and was not, or could not use",
        attributes=("otel_kernel.loss.kind",),
    ),
    _total(
        "otel_kernel.agent.probe.misses",
        unit="{run}",
        description="runs of a program that the kernel skipped",
        needs=BPF,
    ),
    _amount("otel_kernel.agent.births.open", unit="{birth}", description="births begun and not yet exported"),
    _total("otel_kernel.agent.births.exported", unit="{birth}", description="traces exported, restarts among them"),
    _total(
        "otel_kernel.agent.births.unresolved", unit="{birth}", description="births exported without their pod's name"
    ),
    _total(
        "otel_kernel.agent.lineages.dropped",
        unit="{lineage}",
        description="beginnings that were no birth of a pod",
        attributes=("otel_kernel.drop.kind",),
    ),
    _total(
        "otel_kernel.agent.daemon_calls",
        unit="{call}",
        description="calls of runtime daemons in no birth",
        attributes=("otel_kernel.drop.kind",),
    ),
    _agent(
        "otel_kernel.agent.identity.lag",
        kind="histogram",
        unit="s",
        description="a pod's cgroup made to its name known",
        bounds=LAG_BOUNDS_S,
    ),
    _agent(
        "otel_kernel.identity.lag",
        kind="histogram",
        unit="s",
        description="the kernel's event that names a container or pod to what a source on the node says of it",
        attributes=("otel_kernel.identity.source",),
        bounds=SOURCE_LAG_BOUNDS_S,
        needs=BPF,
    ),
    _total(
        "otel_kernel.identity.answers",
        unit="{answer}",
        description="answers of sources that are asked over a network or a socket",
        attributes=("otel_kernel.identity.source",),
    ),
    _total(
        "otel_kernel.identity.failures",
        unit="{failure}",
        description="times such a source did not answer, or was not believed",
        attributes=("otel_kernel.identity.source", "otel_kernel.failure.kind"),
    ),
    _total(
        "otel_kernel.agent.export.failures",
        unit="{failure}",
        description="requests, or parts of them, that were not taken",
        attributes=("otel_kernel.signal", "otel_kernel.failure.kind"),
    ),
    _total(
        "otel_kernel.agent.reader.failures",
        unit="{failure}",
        description="times a file was there and could not be read or understood",
        attributes=("otel_kernel.reader",),
    ),
    _total(
        "otel_kernel.agent.reader.time",
        unit="s",
        description="time spent in reading each kind of file",
        attributes=("otel_kernel.reader",),
    ),
    _amount("otel_kernel.agent.pods", unit="{pod}", description="pods whose cgroup is there"),
    _total(
        "otel_kernel.agent.counts",
        unit="{event}",
        description="the agent's further counters",
        attributes=("otel_kernel.counter",),
    ),
    _total("process.cpu.time", unit="s", description="CPU time the agent used", attributes=("cpu.mode",), needs=PROC),
    _amount("process.memory.usage", unit="By", description="resident memory of the agent", needs=PROC),
    _amount(
        "otel_kernel.agent.bpf.map.memory",
        unit="By",
        description="kernel memory of the agent's BPF maps",
        attributes=("otel_kernel.bpf.map",),
        needs=BPF,
    ),
    *PROGRAMS,
)
