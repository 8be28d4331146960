"""Tells births as synthetic events, in the order in which the kernel would deliver them."""

from dataclasses import dataclass, field

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.facts import ContainerFacts, PodContainer, PodFacts
from otel_kernel.births.recording import Recorded
from otel_kernel.births.trace import Span, Trace
from otel_kernel.kernel.events import (
    Call,
    CgroupChange,
    CgroupWrite,
    Decision,
    End,
    Ending,
    Exec,
    Fork,
    Role,
    Throttled,
    Wait,
)

MS = 1_000_000
SECOND = 1_000 * MS
OFFSET = 1_700_000_000_000_000_000
UID = "11111111-2222-4333-8444-555555555555"
SANDBOX = "a" * 64
NETNS = "/var/run/netns/cni-0001"
CONTAINERD = (100, 1)
KUBELET = (90, 1)
NEWNET = 0x40000000
NEWNS = 0x00020000
NEWPID = 0x20000000
CLONE_PARENT = 0x8000
STATE = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"


def container_id(name: str) -> str:
    """Return a container id made of a name."""
    return (name.encode().hex() + "c" * 64)[:64]


@dataclass
class Told:
    """A process of the story."""

    story: "Story"
    pid: int
    start_ns: int
    parent: tuple[int, int]
    role: Role = Role.LINEAGE
    syscalls: int = 100
    made_threads: int = 2
    cgroup: int = 1

    @property
    def key(self) -> tuple[int, int]:
        """PID and start: how events name it."""
        return self.pid, self.start_ns

    def call(self, name: str, *arguments: int, took_ms: float = 0.05, **more: object) -> Call:
        """Make a call; the clock goes on by what it takes."""
        told = self.story.call_of(self.key, self.role, name, arguments, took_ms=took_ms, cgroup=self.cgroup, **more)
        self.story.events.append(told)
        return told

    def wait(self, name: str, took_ms: float, path: str | None = None) -> None:
        """Make a call that takes long."""
        start = self.story.now
        self.story.after(took_ms)
        self.story.events.append(
            Wait(
                start, self.story.now, self.pid, self.start_ns, self.pid, self.cgroup, name, 0, (3, 0, 0, 0, 0, 0), path
            )
        )

    def fork(self, flags: int = 0, name: str = "clone") -> "Told":
        """Fork a process inside the lineage; the clone's record comes after the fork's."""
        start = self.story.now
        self.story.after(0.05)
        child = Told(self.story, self.story.next_pid(), self.story.now, self.key, cgroup=self.cgroup)
        story = self.story
        story.events.append(
            Fork(story.now, child.pid, story.now, self.pid, self.start_ns, self.pid, child.pid, flags, self.cgroup)
        )
        self.story.after(0.05)
        told = story.call_of(self.key, self.role, name, (flags,), started_ns=start, child_pid=child.pid)
        story.events.append(told._replace(return_value=child.pid))
        return child

    def exec(self, arguments: str, decision: Decision = Decision.INHERITED, **more: object) -> Exec:
        """Replace the program; the execve's record follows the exec's."""
        story = self.story
        words = tuple(arguments.split())
        start = story.now
        story.after(0.3)
        filename = str(more.get("filename", f"/usr/bin/{words[0].rpartition('/')[2]}"))
        environment = more.get("environment", ())
        assert isinstance(environment, tuple)
        told = Exec(
            story.now, self.pid, self.start_ns, *self.parent, self.pid, self.pid, decision, self.cgroup,
            filename, words, environment, str(more.get("working_directory", "")), False,
        )  # fmt: skip
        story.events.append(told)
        story.after(0.1)
        story.events.append(story.call_of(self.key, Role.LINEAGE, "execve", (), started_ns=start, target=filename))
        return told

    def end(self, ending: Ending = Ending.EXIT, status: int = 0) -> None:
        """Leave the birth."""
        self.story.events.append(
            End(self.story.now, self.pid, self.start_ns, ending, status, self.syscalls, self.made_threads, 5, 1, 3)
        )

    def exit(self, code: int = 0) -> None:
        """Exit with a code."""
        self.story.after(0.02)
        self.end(status=code << 8)

    def enter(self, program: str = "/app") -> None:
        """Exec the container's own program."""
        self.exec(program, Decision.ENTRY_POINT, filename=program)
        self.end(Ending.ENTRY_POINT)


@dataclass
class Story:
    """One pod's birth; `events` is what the kernel and the identifier told."""

    uid: str = UID
    sandbox: str = SANDBOX
    now: int = 1_000 * SECOND
    netns: str = NETNS
    kubernetes: bool = True
    events: list[Recorded] = field(default_factory=list)
    pid: int = 1000
    shim: Told | None = None
    names_uid: bool = True
    thread: int = 104  # of the daemon, that makes the network namespace

    def after(self, ms: float) -> "Story":
        """Let time pass."""
        self.now += round(ms * MS)
        return self

    def next_pid(self) -> int:
        """Return a PID that nobody has had."""
        self.pid += 1
        return self.pid

    def call_of(
        self, key: tuple[int, int], role: Role, name: str, arguments: tuple[int, ...] = (), **more: object
    ) -> Call:
        """Return a call that ends now, or after it took its time."""
        start = more.pop("started_ns", None)
        took_ms = float(str(more.pop("took_ms", 0.05)))
        if start is None:
            start = self.now
            self.after(took_ms)
        assert isinstance(start, int)
        thread = int(str(more.pop("thread", key[0])))
        bare = Call(
            start, self.now, *key, thread, thread, 1, role, name, 0, (*arguments, *(0,) * (6 - len(arguments))),
            None, None, None, None, 0, (), 0,
        )  # fmt: skip
        return bare._replace(cgroup_id=int(str(more.pop("cgroup", 1))), **more)  # type: ignore[arg-type]

    def daemon(self, name: str, *arguments: int, key: tuple[int, int] = CONTAINERD, **more: object) -> Call:
        """Let a daemon make a call of its own."""
        told = self.call_of(key, Role.DAEMON, name, arguments, **more)
        self.events.append(told)
        return told

    def facts(self, **more: object) -> None:
        """Let the identifier tell something."""
        self.events.append(ContainerFacts(self.now, **more))  # type: ignore[arg-type]

    def begin(self, arguments: str, decision: Decision, parent: tuple[int, int] = CONTAINERD, **more: object) -> Told:
        """Let a daemon fork a process whose first exec begins a lineage; its clone returns after that (vfork)."""
        start = self.now
        self.after(0.05)
        process = Told(self, self.next_pid(), self.now, parent)
        process.exec(arguments, decision, **more)
        self.after(0.05)
        told = self.call_of(parent, Role.DAEMON, "clone", (0x4100,), started_ns=start, child_pid=process.pid)
        self.events.append(told._replace(return_value=process.pid))
        return process

    # What a kubelet and a runtime do

    def pod_cgroup(self, action: str = "mkdir", cgroup_id: int = 7000) -> "Story":
        """Make, or remove, the pod's cgroup."""
        if action == "mkdir":
            self.facts(source="cgroup-path", pod_uid=self.uid, cgroup_id=cgroup_id)
        self.events.append(CgroupChange(self.now, action, cgroup_id, f"/kubepods/pod{self.uid}", 1))
        return self

    def container_cgroup(self, identifier: str, cgroup_id: int, pid: int = 1, action: str = "mkdir") -> None:
        """Make a container's cgroup, or move somebody into it."""
        self.facts(source="cgroup-path", container_id=identifier, pod_uid=self.uid, cgroup_id=cgroup_id)
        path = f"/kubepods/pod{self.uid}/{identifier}"
        self.events.append(CgroupChange(self.now, action, cgroup_id, path, pid))

    def throttled(self, cgroup_id: int, start_ns: int, took_ms: float, number: int = 0, cpu: int = 1) -> None:
        """Let a cgroup have no CPU time; the kernel tells when that ends."""
        self.events.append(Throttled(start_ns, start_ns + round(took_ms * MS), cgroup_id, cpu, number))

    def volumes(self, program: str = "mount") -> Told:
        """Let the kubelet mount, or unmount, something of the pod's."""
        path = f"/var/lib/kubelet/pods/{self.uid}/volumes/tmp"
        process = self.begin(f"{program} -t tmpfs tmpfs {path}", Decision.VOLUMES, KUBELET)
        process.call(program if program == "mount" else "umount2", source="tmpfs", target=path)
        process.exit()
        return process

    def network_namespace(self) -> "Story":
        """Let containerd make the pod's network namespace."""
        thread = self.thread
        self.daemon("unshare", NEWNET, thread=thread, namespaces=(("net", 4026),))
        self.daemon("mount", 0, 0, 0, 0x1000, thread=thread, source="/proc/100/task/104/ns/net", target=self.netns)
        self.daemon("setns", 9, NEWNET, thread=thread, namespaces=(("net", 1),))
        return self.after(1)

    def cni(self, program: str = "ptp", code: int = 0) -> Told:
        """Let containerd add the sandbox to a network."""
        environment = (
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", self.sandbox),
            ("CNI_NETNS", self.netns),
        )
        process = self.begin(f"/opt/cni/{program}", Decision.CNI_ADD, environment=environment)
        process.wait("wait4", 3)
        process.exit(code)
        return process

    def _bundle_told(self, identifier: str, name: str | None) -> None:
        if not self.kubernetes:
            self.facts(source="oci-bundle", container_id=identifier, not_kubernetes=True)
            return
        self.facts(
            source="oci-bundle",
            container_id=identifier,
            sandbox_id=self.sandbox,
            is_sandbox=name is None,
            pod_uid=self.uid if self.names_uid else None,
            pod_name="web",
            namespace="shop",
            container_name=name,
            image_name="registry.local/app:1",
            runtime_name="containerd",
            network_namespace=self.netns if name is None else None,
        )

    def start_shim(self) -> Told:
        """Let containerd start the pod's shim, which goes on as a daemon of its own."""
        self._bundle_told(self.sandbox, None)
        starter = self.begin(f"containerd-shim-runc-v2 -namespace k8s.io -id {self.sandbox} start", Decision.SHIM_START)
        shim = starter.fork()
        shim.exec(f"containerd-shim-runc-v2 -namespace k8s.io -id {self.sandbox}")
        starter.exit()
        self.shim = shim
        return shim

    def _runtime(self, arguments: str) -> Told:
        assert self.shim is not None
        if self.shim.role is Role.DAEMON:
            return self.begin(arguments, Decision.RUNTIME, self.shim.key)
        start = self.now
        self.after(0.05)
        runtime = Told(self, self.next_pid(), self.now, self.shim.key)
        self.events.append(Fork(self.now, runtime.pid, self.now, *self.shim.key, self.shim.pid, runtime.pid, 0x4100, 1))
        at = len(self.events)
        runtime.exec(arguments, Decision.RUNTIME)
        first = self.events[at]
        assert isinstance(first, Exec)
        handed_over = End(first.ns, *self.shim.key, Ending.HANDED_OVER, 0, 50, 8, 5, 0, 0)
        self.events.insert(at, handed_over)
        self.shim.role = Role.DAEMON
        told = self.call_of(self.shim.key, Role.DAEMON, "clone", (0x4100,), started_ns=start, child_pid=runtime.pid)
        self.events.append(told._replace(return_value=runtime.pid))
        return runtime

    def create(self, identifier: str, name: str | None = None) -> tuple[Told, Told]:
        """Let the shim create a container; returns the runtime and the last stage of its init."""
        self._bundle_told(identifier, name)
        runtime = self._runtime(f"runc --root /run/runc create --bundle {STATE}/{identifier} --pid-file p {identifier}")
        first = runtime.fork()
        first.exec("runc init", filename="/proc/self/exe")
        first.exec("runc init", filename="/dev/fd/5")
        second = first.fork(CLONE_PARENT)
        second.call("unshare", NEWNS | NEWPID, namespaces=(("mnt", 5), ("pid", 6)))
        cgroup_id = 7100 + self.next_pid()
        self.container_cgroup(identifier, cgroup_id)
        last = second.fork(CLONE_PARENT)
        last.cgroup = cgroup_id
        first.exit()
        last.wait("read", 5)
        for target in ("/proc", "/dev", "/sys"):
            last.call("mount", 0, 0, 0, 0, source="none", target=f"/rootfs{target}", filesystem_type="tmpfs")
        last.call("pivot_root", source=".", target=".")
        second.exit()
        runtime.wait("read", 2)
        runtime.exit()
        return runtime, last

    def start(self, identifier: str, init: Told) -> Told:
        """Let the shim start a created container; its init becomes the container's own program."""
        runtime = self._runtime(f"runc --root /run/runc start {identifier}")
        init.wait("openat", 4, f"/proc/self/fd/{identifier[:2]}")
        init.enter()
        self.after(0.5)
        runtime.exit()
        return runtime

    def born_sandbox(self) -> "Story":
        """Bear the sandbox, from network namespace to entry point."""
        self.network_namespace()
        self.cni()
        self.start_shim()
        self.root(self.sandbox)
        _, init = self.create(self.sandbox)
        self.start(self.sandbox, init)
        return self.after(2)

    def root(self, identifier: str) -> None:
        """Let the shim mount a container's root."""
        assert self.shim is not None
        self.events.append(
            self.call_of(
                self.shim.key,
                self.shim.role,
                "mount",
                (0, 0, 0, 0),
                source="overlay",
                target=f"{STATE}/{identifier}/rootfs",
                filesystem_type="overlay",
                data=overlay(identifier),
            )
        )

    def born_container(self, name: str, identifier: str | None = None) -> Told:
        """Bear a container; returns the process that runs its own program."""
        identifier = identifier or container_id(name)
        self._bundle_told(identifier, name)
        starter = self.begin(f"containerd-shim-runc-v2 -namespace k8s.io -id {identifier} start", Decision.SHIM_START)
        starter.exit()
        self.root(identifier)
        _, init = self.create(identifier, name)
        self.start(identifier, init)
        self.after(2)
        return init

    def cgroup_write(self, path: str) -> None:
        """Let a daemon write to a cgroup's file."""
        self.events.append(CgroupWrite(self.now, *CONTAINERD, 104, path))


def pod_facts(*names: str, **more: object) -> PodFacts:
    """Return the API server's word on the story's pod, with regular containers of these names."""
    containers = tuple(PodContainer(name, "regular", None) for name in names)
    told: dict[str, object] = {"ns": 1_000 * SECOND, "source": "kube-api", "pod_uid": UID, "pod_name": "web"}
    return PodFacts(**{**told, "namespace": "shop", "containers": containers, **more})  # type: ignore[arg-type]


def overlay(identifier: str) -> str:
    """Return the mount data of a container's root."""
    own = f"/snap/{identifier[:6]}"
    return f"index=off,workdir={own}/work,upperdir={own}/fs,lowerdir=/snap/1/fs:/snap/2/fs"


def assemble(story: Story, settings: AssemblySettings | None = None) -> tuple[Assembly, list[Trace]]:
    """Feed a story, asking after each event what is due, and then let 20 s pass."""
    assembly = Assembly(settings or AssemblySettings(), lambda: OFFSET)
    traces = feed(assembly, story.events)
    return assembly, traces + assembly.due(story.now + 20 * SECOND)


def feed(assembly: Assembly, events: list[Recorded]) -> list[Trace]:
    """Feed events, asking after each what is due."""
    traces: list[Trace] = []
    for event in events:
        traces += assembly.due(ended_ns(event))
        assembly.feed(event)
    return traces


def ended_ns(event: Recorded) -> int:
    """Return when an event was over."""
    return event.end_ns if isinstance(event, Call | Throttled | Wait) else event.ns


def merged(*stories: Story) -> Story:
    """Return one story of several that happen at the same time."""
    events = [event for story in stories for event in story.events]
    return Story(events=sorted(events, key=ended_ns), now=max(story.now for story in stories))


def named(trace: Trace, name: str) -> list[Span]:
    """Return the spans of a trace with this name."""
    return [span for span in trace.spans if span.name == name]


def only(trace: Trace, name: str) -> Span:
    """Return the one span with this name."""
    (span,) = named(trace, name)
    return span


def parent_of(trace: Trace, span: Span) -> Span:
    """Return a span's parent."""
    return next(other for other in trace.spans if other.span_id == span.parent_span_id)


def draw(trace: Trace) -> str:
    """Return a trace as an indented text, for a person to look at."""
    lines = []
    depths: dict[bytes, int] = {}
    for span in trace.spans:
        depth = depths[span.parent_span_id] + 1 if span.parent_span_id else 0
        depths[span.span_id] = depth
        took = (span.end_unix_ns - span.start_unix_ns) / 1e6
        offset = (span.start_unix_ns - trace.spans[0].start_unix_ns) / 1e6
        lines.append(f"{'  ' * depth}{span.service} {span.name}  +{offset:.2f} {took:.2f} ms {span.error or ''}")
    return "\n".join(lines)
