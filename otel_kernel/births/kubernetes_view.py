"""What Kubernetes says of pods while they are born and after: judged against what the node itself shows."""

from typing import NamedTuple

from otel_kernel.births import workload
from otel_kernel.births.facts import Condition, ContainerFacts, PodEvents, PodFacts
from otel_kernel.births.known import KnownContainers
from otel_kernel.births.model import Birth, Kind, Pod
from otel_kernel.births.register import PodRegister
from otel_kernel.births.trace import SpanLink

_CHANGES_KEPT = 1024


class ConditionChange(NamedTuple):
    """A condition of a pod that came after its birth was told."""

    pod: Pod
    condition: Condition
    root: SpanLink


class EventsQuestion(NamedTuple):
    """A pod whose events are to be asked for."""

    pod_uid: str
    namespace: str


class KubernetesView:
    """What is believed, what is asked, and what is to be told later."""

    def __init__(self, pods: PodRegister, known: KnownContainers, events_wait_ns: int) -> None:
        self._pods = pods
        self._known = known
        self._events_wait_ns = events_wait_ns  # 0: they are not asked for
        self._questions: list[EventsQuestion] = []
        self._changes: list[ConditionChange] = []
        self.contradicted = 0

    def told(self, facts: PodFacts) -> Pod | None:
        """Take in Kubernetes' word on a pod, and return the pod when something of it was seen here."""
        pod = self._pods.told(facts)
        if pod is not None:
            self.judge(pod)
            self._note_conditions(pod)
        return pod

    def events(self, told: PodEvents) -> None:
        """Take in the events of a pod."""
        pod = self._pods.find(told.pod_uid, None)
        if pod is not None:
            pod.events = told

    def judge(self, pod: Pod) -> None:
        """Decide anew whether Kubernetes is believed on this pod."""
        told = pod.told
        if told is None:
            return
        doubt = pod.identity.contradiction(told, self._known.pod_of)
        if doubt is not None and pod.doubt is None:
            self.contradicted += 1
        pod.doubt = doubt
        if doubt is not None:
            pod.expected = None
            pod.identity.failures[told.source] = doubt
            return
        pod.identity.learn(
            ContainerFacts(told.ns, told.source, pod_uid=told.pod_uid, pod_name=told.pod_name, namespace=told.namespace)
        )
        pod.expected = workload.expected(told)

    def awaits_events(self, birth: Birth, now_ns: int) -> bool:
        """Whether a birth that is over has yet to wait for its events. They are asked for once."""
        pod = birth.pod
        uid, namespace = pod.identity.pod_uid, pod.identity.namespace
        if (
            not self._events_wait_ns
            or birth.kind is not Kind.BIRTH
            or pod.events is not None
            or not uid
            or not namespace
        ):
            return False
        if pod.asked_ns is None:
            pod.asked_ns = now_ns
            self._questions.append(EventsQuestion(uid, namespace))
        return now_ns < pod.asked_ns + self._events_wait_ns

    def no_sooner_ns(self, birth: Birth) -> int:
        """Return before which time a birth is not due, because its events have been asked for."""
        pod = birth.pod
        return pod.asked_ns + self._events_wait_ns if pod.asked_ns is not None and pod.events is None else 0

    def exported(self, pod: Pod) -> None:
        """Remember which conditions are on the root."""
        pod.conditions_told = frozenset(pod.word.conditions) if pod.word is not None else frozenset()

    def take_questions(self) -> list[EventsQuestion]:
        """Return of which pods events are to be asked for."""
        taken, self._questions = self._questions, []
        return taken

    def take_changes(self) -> list[ConditionChange]:
        """Return the conditions that came after their pod's birth was told."""
        taken, self._changes = self._changes, []
        return taken

    def _note_conditions(self, pod: Pod) -> None:
        if pod.word is None or pod.root is None:
            return
        now = frozenset(pod.word.conditions)
        later = sorted(now - pod.conditions_told, key=lambda condition: condition.unix_ns)
        pod.conditions_told = now
        room = _CHANGES_KEPT - len(self._changes)
        self._changes += [ConditionChange(pod, condition, pod.root) for condition in later[:room]]
