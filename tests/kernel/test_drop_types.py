"""What the kernel's types say of dropped packets, of this kernel and of older ones."""

from pathlib import Path

import pytest

from otel_kernel.kernel import btf, drop_types, loader
from otel_kernel.kernel.drops import OTHER, Kind
from otel_kernel.kernel.probes import Probes, Sizes
from tests.kernel.networks import Network, connect

pytestmark = pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="this kernel has no BTF")

SINCE_5_17, SINCE_6_11 = ("KFREE_SKB_REASON", "SKB_CONSUMED"), ("KFREE_SKB_RX_SK",)
SINCE_5_12, SINCE_5_13 = ("NET_NET_COOKIE",), ("HAS_SNPRINTF",)


class OlderTypes(btf.KernelTypes):
    """The kernel's types as they were before Linux 5.12: a mock, as there is one kernel here."""

    def tracepoint_arguments(self, name: str) -> tuple[str, ...]:
        """Return those that there always were."""
        return super().tracepoint_arguments(name)[:2]

    def enum(self, name: str) -> dict[int, str]:
        """Return nothing of what came later."""
        if name == "bpf_func_id":
            return {value: text for value, text in super().enum(name).items() if text != "BPF_FUNC_snprintf"}
        return {}

    def type_of(self, struct: str, member: str) -> str:
        """Return what a cookie was."""
        return "atomic64_t" if member == "net_cookie" else super().type_of(struct, member)

    def has(self, struct: str, member: str) -> bool:
        """Tell that a device's private part had no name."""
        return member != "priv" and super().has(struct, member)


@pytest.fixture(scope="module")
def types() -> btf.KernelTypes:
    """The running kernel's types."""
    return btf.KernelTypes()


def test_reasons(types: btf.KernelTypes) -> None:
    """Reasons have the names that the kernel prints; what is no reason has none."""
    reasons = drop_types.reasons(types)
    if reasons is None:
        pytest.skip("this kernel gives no reasons")
    assert {"NOT_SPECIFIED", "NO_SOCKET", "NETFILTER_DROP"} <= set(reasons.values())
    assert not {"MAX", "SUBSYS_MASK", "SUBSYS_NUM"} & set(reasons.values())
    assert not any("DROP_REASON" in name for name in reasons.values())
    assert "SKB_DROP_REASON_" + reasons[3] == types.enum("skb_drop_reason")[3]


def test_reasons_of_subsystems(types: btf.KernelTypes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subsystem's own names are told where the kernel's types have them; common values keep the common names.

    A mock: this kernel has no subsystem with names of its own.
    """
    enums = {
        "skb_drop_reason": {1: "SKB_CONSUMED", 3: "SKB_DROP_REASON_NO_SOCKET", 9: "SKB_DROP_REASON_MAX"},
        "skb_drop_reason_subsys": {0: "SKB_DROP_REASON_SUBSYS_CORE", 2: "SKB_DROP_REASON_SUBSYS_OPENVSWITCH"},
        "ovs_drop_reason": {2 << 16: "__OVS_DROP_REASON", (2 << 16) + 1: "OVS_DROP_LAST_ACTION"},
        "mac80211_drop_reason": {1: "RX_CONTINUE"},
    }
    monkeypatch.setattr(types, "tracepoint_arguments", lambda _: ("sk_buff", "void", "skb_drop_reason"))
    monkeypatch.setattr(types, "enum", lambda name: enums.get(name, {}))
    assert drop_types.reasons(types) == {
        1: "CONSUMED",
        3: "NO_SOCKET",
        2 << 16: "OPENVSWITCH",
        (2 << 16) + 1: "OVS_DROP_LAST_ACTION",
    }


def test_reasons_without_a_name() -> None:
    """A reason of a subsystem whose names are not known is told by the subsystem, any other by its number."""
    names = {3: "NO_SOCKET", 2 << 16: "OPENVSWITCH"}
    told = [drop_types.reason(value, names) for value in (3, (2 << 16) + 5, 999, (7 << 16) + 1)]
    assert told == ["NO_SOCKET", "OPENVSWITCH_5", "reason_999", "reason_458753"]


def test_definitions(types: btf.KernelTypes) -> None:
    """Where the tracepoint's arguments are is read from its prototype."""
    arguments = types.tracepoint_arguments("kfree_skb")
    found = drop_types.definitions(types)
    assert arguments[:2] == ("sk_buff", "void")
    for name, macro in (("skb_drop_reason", "KFREE_SKB_REASON"), ("sock", "KFREE_SKB_RX_SK")):
        assert found.get(macro) == (arguments.index(name) if name in arguments else None)


def test_a_tracepoint_that_is_another(types: btf.KernelTypes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracepoint whose arguments are not those that are read is refused."""
    monkeypatch.setattr(types, "tracepoint_arguments", lambda _: ("sock", "sk_buff"))
    with pytest.raises(btf.BtfError, match=r"^the kernel's tracepoint kfree_skb has other arguments: sock, sk_buff$"):
        drop_types.definitions(types)
    with pytest.raises(btf.BtfError, match=r"^the kernel's BTF has no tracepoint no_such$"):
        btf.KernelTypes().tracepoint_arguments("no_such")


def test_definitions_of_older_kernels() -> None:
    """What came later is not defined; what has a name now was at its place before."""
    now, before = drop_types.definitions(btf.KernelTypes()), drop_types.definitions(OlderTypes())
    assert now.keys() - before.keys() <= {*SINCE_5_12, *SINCE_5_13, *SINCE_5_17, *SINCE_6_11}
    assert not before.keys() & {*SINCE_5_12, *SINCE_5_13, *SINCE_5_17, *SINCE_6_11}
    assert before["NET_DEVICE_PRIV"] == now["NET_DEVICE_PRIV"]
    assert drop_types.reasons(OlderTypes()) is None


@pytest.mark.root
def test_counting_on_older_kernels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an older kernel drops are counted without reason and location, by the tracepoint's first two arguments."""
    monkeypatch.setattr(btf, "KernelTypes", OlderTypes)
    sizes = Sizes()
    probes = Probes(*loader.load(sizes.definitions() | {"DROPS": 1}, cache), sizes)
    drops = probes.drops
    assert drops is not None
    with Network() as network, Network() as pod:
        connect(network, pod, 0)
        drops.learn_node(network.fd)
        drops.learn(pod.fd, 7)
        drops.attach()
        network.send("10.99.0.2", 19)
        network.knock("10.99.0.2", 4)
        found = drops.read()[7]
    probes.close()
    assert found == {Kind(None, None, "pod"): 23, Kind(OTHER, None, "pod"): 0, Kind(OTHER, None, "host"): 0}
