"""What command lines say, hostile ones among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.births.arguments import Command, Tool, cni_arguments, command, pod_uid_in, program_name, redacted
from otel_kernel.kernel.events import Decision, Exec
from tests.births.story import UID

ID = "f" * 64


def said(
    line: str,
    decision: Decision = Decision.INHERITED,
    filename: str | None = None,
    environment: tuple[tuple[str, str], ...] = (),
    *,
    truncated: bool = False,
) -> Command:
    """Return what a command line says."""
    words = tuple(line.split())
    path = filename if filename is not None else (words[0] if words else "")
    return command(Exec(1, 2, 3, 4, 5, 2, 2, decision, 1, path, words, environment, "/cwd", truncated))


@pytest.mark.parametrize(
    ("line", "verb", "container_id", "bundle"),
    [
        (
            "/usr/sbin/runc --root /r --log /l --log-format json create --bundle /b --pid-file /p ID",
            "create",
            "ID",
            "/b",
        ),
        ("runc --root=/r --systemd-cgroup create --bundle=/b --no-pivot ID", "create", "ID", "/b"),
        ("runc --debug run -d -b /b ID", "run", "ID", "/b"),
        ("runc --root /r start ID", "start", "ID", None),
        ("runc restore --image-path /i --work-path /w --bundle /b ID", "restore", "ID", "/b"),
        ("crun --cgroup-manager systemd --root /r create --bundle /b --pid-file /p ID", "create", "ID", "/b"),
        ("nvidia-container-runtime --root create create --bundle /b ID", "create", "ID", "/b"),
        ("wrapper --frob value create -b /b ID", "create", "ID", "/b"),
        ("runc create ID", "create", "ID", "/cwd"),
        ("runc create -- ID", "create", "ID", "/cwd"),
        ("runc init", "init", None, None),
        ("runc delete --force ID", "delete", "ID", None),
        ("runc", None, None, None),
        ("runc create", "create", None, "/cwd"),
        ("runc create --bundle", "create", None, "/cwd"),
        ("runc create ../../etc", "create", None, "/cwd"),
    ],
)
def test_runtimes(line: str, verb: str | None, container_id: str | None, bundle: str | None) -> None:
    """A runtime's sub-command, container and bundle are read whatever options surround them."""
    told = said(line, Decision.RUNTIME)
    assert (told.tool, told.verb, told.container_id, told.bundle) == (Tool.RUNTIME, verb, container_id, bundle)


def test_a_shim() -> None:
    """A shim names its container by -id; the one that serves has no sub-command."""
    told = said(
        f"/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -address /a -publish-binary /x -id {ID} -debug start"
    )
    assert told == Command(Tool.SHIM, "containerd-shim-runc-v2", "start", ID, "/cwd")
    assert told.display_name == "containerd-shim-runc-v2 start"
    assert (
        said(f"containerd-shim-runc-v2 -namespace k8s.io -id {ID} -address /a").display_name
        == "containerd-shim-runc-v2"
    )


def test_conmon() -> None:
    """Conmon names container and bundle, briefly or in full."""
    assert said(f"/usr/bin/conmon -b /b -c {ID} -n name -r /usr/bin/runc").container_id == ID
    told = said(f"conmon --cid={ID} --bundle /b --runtime-arg --root=/r")
    assert (told.tool, told.container_id, told.bundle) == (Tool.CONMON, ID, "/b")


def test_a_plugin_by_its_environment() -> None:
    """A CNI plugin has no arguments: its environment tells."""
    environment = (
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", ID),
        ("CNI_NETNS", "/var/run/netns/x"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=" + UID),
    )
    told = said("/opt/cni/bin/ptp", Decision.CNI_ADD, environment=environment)
    assert told == Command(Tool.CNI, "ptp", "ADD", ID, network_namespace="/var/run/netns/x")
    assert told.display_name == "ptp"
    read = cni_arguments(environment)
    assert read is not None
    assert (read.pod_namespace, read.pod_name, read.pod_uid) == ("shop", "web", UID)
    assert cni_arguments((("CNI_CONTAINERID", ID),)) is None


def test_a_plugin_s_helper_is_no_runtime() -> None:
    """What inherits a plugin's environment is the plugin's, though its arguments look like a runtime's."""
    environment = (("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", ID))
    assert said("ipset create kube-set hash:ip", environment=environment).tool is Tool.CNI
    assert said("systemctl start docker").tool is Tool.OTHER


def test_volumes_name_their_pod_by_directory() -> None:
    """The kubelet's mounts say by their path whose they are."""
    line = f"/bin/systemd-run --scope -- mount -t nfs x:/y /var/lib/kubelet/pods/{UID}/volumes/z"
    told = said(line, Decision.VOLUMES)
    assert (told.tool, told.pod_uid, told.display_name) == (Tool.VOLUMES, UID, "systemd-run")
    assert pod_uid_in(f"/var/lib/kubelet/pods/{'0' * 32}") == "0" * 32
    assert pod_uid_in(f"/pods/{UID}x/") is None


@pytest.mark.parametrize(
    "path", ["/proc/self/exe", "/dev/fd/5", "/proc/self/fd/7", "/proc/12/exe", "memfd:runc_cloned"]
)
def test_a_re_executed_program_goes_by_its_first_argument(path: str) -> None:
    """A program that executes itself, or a copy in memory, is called what it calls itself."""
    assert said("runc init", filename=path).display_name == "runc init"
    assert program_name(path, ()) not in {"runc", ""}


def test_a_cut_command_line_names_no_half_id() -> None:
    """Of a command line that was cut the last argument is not trusted."""
    assert said(f"runc create --bundle /b {ID[:20]}", Decision.RUNTIME, truncated=True).container_id is None
    whole = said(f"runc create --bundle /run/k8s.io/{ID} --pid-file /p {ID[:20]}", Decision.RUNTIME, truncated=True)
    assert whole.container_id == ID


def test_redaction_keeps_what_is_no_secret() -> None:
    """Only option names, sub-commands, absolute paths and ids stay."""
    words = ("mount", "-o", "password=hunter2", "--token=abc", "--root=/r", "create", ID, "/b", "user")
    gone = "<redacted>"
    assert redacted(words) == ("mount", "-o", gone, f"--token={gone}", "--root=/r", "create", ID, "/b", gone)


@given(
    st.text(),
    st.lists(st.text()),
    st.lists(st.tuples(st.sampled_from(["CNI_COMMAND", "CNI_ARGS", "CNI_NETNS", "CNI_CONTAINERID"]), st.text())),
    st.sampled_from(Decision),
    st.booleans(),
)
def test_anything_may_be_an_argument(
    filename: str,
    arguments: list[str],
    environment: list[tuple[str, str]],
    decision: Decision,
    truncated: bool,
) -> None:
    """No command line raises; the name that is shown has no control characters and is never empty."""
    words = tuple(arguments)
    told = command(Exec(1, 2, 3, 4, 5, 2, 2, decision, 1, filename, words, tuple(environment), "/", truncated))
    assert told.program.isprintable()
    assert 0 < len(told.program) <= 64
    assert len(redacted(words)) == len(words)
