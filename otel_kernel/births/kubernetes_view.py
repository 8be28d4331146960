"""What Kubernetes says of pods while they are born and after: judged against what the node itself shows."""

from typing import NamedTuple

from otel_kernel.births import attributes, workload
from otel_kernel.births.assembly_settings import AssemblySettings
from otel_kernel.births.attributes import Bag
from otel_kernel.births.facts import Condition, ContainerFacts, PodEvents, PodFacts
from otel_kernel.births.known import KnownContainers
from otel_kernel.births.model import Birth, Kind, Pod
from otel_kernel.births.register import PodRegister
from otel_kernel.births.trace import SpanLink

_CHANGES_KEPT = 1024


class ConditionChange(NamedTuple):
    """A condition of a pod that came after its birth was told."""

    pod_uid: str
    resource: Bag
    condition: Condition
    root: SpanLink  # of that birth


class EventsQuestion(NamedTuple):
    """A pod whose events are to be asked for."""

    pod_uid: str
    namespace: str


class KubernetesView:
    """What is believed, what is asked, and what is to be told later."""

    def __init__(self, pods: PodRegister, known: KnownContainers, settings: AssemblySettings) -> None:
        self._pods = pods
        self._known = known
        self._node_name = settings.node_name
        self._answers_wait_ns = settings.answers_wait_ns
        self._asks_events = settings.asks_events
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
        if doubt is not None:
            self.contradicted += pod.doubt is None
            self._disbelieve(pod, told, doubt)
            return
        pod.doubt = None
        pod.identity.learn(
            ContainerFacts(told.ns, told.source, pod_uid=told.pod_uid, pod_name=told.pod_name, namespace=told.namespace)
        )
        pod.expected = workload.expected(told)

    def _disbelieve(self, pod: Pod, told: PodFacts, why: str) -> None:
        pod.doubt, pod.expected = why, None
        pod.identity.forget(told.source, why)
        for container in told.containers:
            if container.container_id is not None:
                self._known.container(container.container_id).forget(told.source, why)

    def awaits_answers(self, birth: Birth, now_ns: int) -> bool:
        """Whether a birth that is over has yet to wait for what is asked of Kubernetes. Events are asked for once."""
        pod = birth.pod
        uid, namespace = pod.identity.pod_uid, pod.identity.namespace
        if birth.kind is not Kind.BIRTH:
            return False
        if pod.waits_from_ns is None:
            pod.waits_from_ns = now_ns
            if self._asks_events and uid and namespace:
                pod.wants_events = True
                self._questions.append(EventsQuestion(uid, namespace))
        return now_ns < self.no_sooner_ns(birth)

    def no_sooner_ns(self, birth: Birth) -> int:
        """Return until when a birth waits for answers; 0 while it waits for none."""
        pod = birth.pod
        lacks_owner = pod.word is not None and pod.word.is_partial
        lacks_events = pod.wants_events and pod.events is None
        if pod.waits_from_ns is None or not (lacks_owner or lacks_events):
            return 0
        return pod.waits_from_ns + self._answers_wait_ns

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
        word, root = pod.word, pod.root
        if word is None or root is None:
            return
        now = frozenset(word.conditions)
        later = sorted(now - pod.conditions_told, key=lambda condition: condition.unix_ns)
        pod.conditions_told = now
        room = _CHANGES_KEPT - len(self._changes)
        resource = attributes.of_pod(pod.identity, self._node_name) | workload.of_pod(word)
        self._changes += [ConditionChange(word.pod_uid, resource, condition, root) for condition in later[:room]]
