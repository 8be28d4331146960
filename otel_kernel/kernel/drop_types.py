"""What the running kernel's BTF says of dropped packets: where bpf/drops.c finds their pod, what reasons are called."""

from otel_kernel.kernel.btf import BtfError, KernelTypes

# Every member that bpf/include/network.h and bpf/drops.c walk.
_MEMBERS = (
    ("inode", "i_private"),
    ("sk_buff", "dev"),
    ("sk_buff", "sk"),
    ("sk_buff", "_skb_refdst"),
    ("dst_entry", "dev"),
    ("sock_common", "skc_net"),
    ("sock_common", "skc_family"),
    ("net_device", "nd_net"),
    ("net_device", "rtnl_link_ops"),
    ("rtnl_link_ops", "kind"),
)
_PRIVATE_ALIGNMENT = 32  # NETDEV_ALIGN: what was private to a driver followed struct net_device, before that named it
_ARGUMENTS = {"skb_drop_reason": "KFREE_SKB_REASON", "sock": "KFREE_SKB_RX_SK"}  # type -> macro of its place
# What subsystems add to enum skb_drop_reason (include/net/dropreason.h). They name the common values, too, otherwise.
_OF_SUBSYSTEMS = ("mac80211_drop_reason", "ovs_drop_reason", "qdisc_drop_reason")
_NO_REASONS = ("_MAX", "_SUBSYS_MASK", "_SUBSYS_NUM", "_SUBSYS_CORE")
_SUBSYSTEM_SHIFT = 16


def definitions(types: KernelTypes) -> dict[str, int]:
    """Return the macros of bpf/drops.c: offsets in bytes, places of arguments. Raises BtfError naming what it lacks."""
    found = {f"{s}_{m}".upper(): types.offset(s, m) for s, m in _MEMBERS}
    if types.type_of("net", "net_cookie") == "u64":  # before Linux 5.12 an atomic one, given when first asked for
        found["NET_NET_COOKIE"] = types.offset("net", "net_cookie")
    size = -(-types.size("net_device") // _PRIVATE_ALIGNMENT) * _PRIVATE_ALIGNMENT
    found["NET_DEVICE_PRIV"] = types.offset("net_device", "priv") if types.has("net_device", "priv") else size
    arguments = types.tracepoint_arguments("kfree_skb")
    if arguments[:2] != ("sk_buff", "void"):
        raise BtfError(f"the kernel's tracepoint kfree_skb has other arguments: {', '.join(arguments)}")
    found |= {_ARGUMENTS[name]: at for at, name in enumerate(arguments) if name in _ARGUMENTS}
    found |= {name: value for value, name in types.enum("skb_drop_reason").items() if name == "SKB_CONSUMED"}
    if "BPF_FUNC_snprintf" in types.enum("bpf_func_id").values():  # since Linux 5.13
        found["HAS_SNPRINTF"] = 1
    return found


def reasons(types: KernelTypes) -> dict[int, str] | None:
    """Return what each reason is called, without prefix as the kernel prints it; None before Linux 5.17: no reasons.

    A subsystem stands where its first value is: of a module's reasons the kernel's own BTF does not tell the names.
    """
    if "skb_drop_reason" not in types.tracepoint_arguments("kfree_skb"):
        return None
    subsystems = {at << _SUBSYSTEM_SHIFT: name for at, name in types.enum("skb_drop_reason_subsys").items()}
    found = {value: name for enum in _OF_SUBSYSTEMS for value, name in types.enum(enum).items()}
    return {
        value: name.removeprefix("SKB_").removeprefix("DROP_REASON_").removeprefix("SUBSYS_")
        for value, name in (found | subsystems | types.enum("skb_drop_reason")).items()
        if not name.endswith(_NO_REASONS)
    }


def reason(value: int, names: dict[int, str]) -> str:
    """Return what a reason is called; of a subsystem's that has no name here, the subsystem's name and the number."""
    if value in names:
        return names[value]
    number = value & ((1 << _SUBSYSTEM_SHIFT) - 1)
    subsystem = names.get(value - number) if value != number else None
    return f"{subsystem}_{number}" if subsystem else f"reason_{value}"
