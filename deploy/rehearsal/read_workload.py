"""Reads Deployments, StatefulSets and Jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.rehearsal.objects import Strategy, Workload
from deploy.rehearsal.read_pod import read_template
from deploy.rehearsal.selectors import of_labels, read_selector, selects

if TYPE_CHECKING:
    from deploy.rehearsal.fields import Fields
    from deploy.rehearsal.pod_spec import PodTemplate
    from deploy.rehearsal.selectors import Selector

__all__ = ["read_deployment", "read_job", "read_stateful_set"]


def read_deployment(fields: Fields, base: dict[str, Any]) -> Workload:
    """Return a Deployment."""
    spec = fields.inside("spec")
    spec.no_meaning("the rehearsal keeps no history to undo", "revisionHistoryLimit")
    spec.only("is not supported", paused=False)
    selector, template = _selected(spec)
    found = Workload(
        **base,
        replicas=spec.number("replicas") if "replicas" in spec else None,
        selector=selector,
        template=template,
        strategy=spec.maybe("strategy", _strategy) or Strategy(),
        min_ready_s=spec.number("minReadySeconds", 0),
        progress_deadline_s=spec.number("progressDeadlineSeconds", 600),
    )
    spec.finish()
    return found


def _strategy(fields: Fields) -> Strategy:
    if fields.text("type", "RollingUpdate", one_of=("RollingUpdate", "Recreate")) == "Recreate":
        return Strategy(recreate=True)
    return fields.maybe("rollingUpdate", _rolling) or Strategy()


def _rolling(fields: Fields) -> Strategy:
    surge, unavailable = fields.take("maxSurge"), fields.take("maxUnavailable")
    found = Strategy(
        max_surge="25%" if surge is None else surge,
        max_unavailable="25%" if unavailable is None else unavailable,
    )
    if found.max_surge in (0, "0%") and found.max_unavailable in (0, "0%"):
        fields.fail("maxUnavailable", "cannot be 0 when maxSurge is 0")
    return found


def _selected(spec: Fields) -> tuple[Selector, PodTemplate]:
    selector = spec.maybe("selector", read_selector)
    inner = spec.inside("template")
    template = read_template(inner)
    inner.finish()
    if not selector:
        spec.fail("selector", "selects everything, or is missing")
    if not selects(selector, dict(template.labels)):
        spec.fail("selector", "does not match the labels of the template")
    if template.spec.restart_policy != "Always":
        spec.fail("template.spec.restartPolicy", "must be Always")
    return selector, template


def read_stateful_set(fields: Fields, base: dict[str, Any]) -> Workload:
    """Return a StatefulSet."""
    spec = fields.inside("spec")
    spec.no_meaning("the rehearsal keeps no history to undo", "revisionHistoryLimit")
    spec.no_meaning("volumes stay until the rehearsal ends", "persistentVolumeClaimRetentionPolicy")
    selector, template = _selected(spec)
    strategy = spec.inside("updateStrategy")
    strategy.text("type", "RollingUpdate", one_of=("RollingUpdate",))
    strategy.only("is not supported", rollingUpdate={})
    strategy.finish()
    management = spec.text("podManagementPolicy", "OrderedReady", one_of=("OrderedReady", "Parallel"))
    found = Workload(
        **base,
        replicas=spec.number("replicas") if "replicas" in spec else None,
        selector=selector,
        template=template,
        min_ready_s=spec.number("minReadySeconds", 0),
        service_name=spec.text("serviceName", ""),
        parallel=management == "Parallel",
        claims=spec.each("volumeClaimTemplates", _claim),
    )
    spec.finish()
    return found


def _claim(fields: Fields) -> str:
    """Return the name of a claim: a directory for each pod that stays while the pod comes and goes."""
    fields.only("is not supported", apiVersion="v1", kind="PersistentVolumeClaim")
    metadata = fields.inside("metadata")
    name = metadata.text("name")
    metadata.no_meaning("nobody selects claims here", "labels", "annotations")
    metadata.finish()
    fields.no_meaning("a claim is a directory on this machine's disk", "spec")
    return name


def read_job(fields: Fields, base: dict[str, Any]) -> Workload:
    """Return a Job."""
    spec = fields.inside("spec")
    spec.no_meaning("jobs stay until the rehearsal ends", "ttlSecondsAfterFinished")
    spec.only("is not supported", parallelism=1, completions=1, suspend=False, completionMode="NonIndexed")
    spec.only("a job's selector is made for it", selector=None, manualSelector=False)
    inner = spec.inside("template")
    template = read_template(inner)
    inner.finish()
    if template.spec.restart_policy == "Always":
        spec.fail("template.spec.restartPolicy", "must be Never or OnFailure")
    found = Workload(
        **base,
        replicas=1,
        selector=of_labels({"batch.kubernetes.io/job-name": base["name"]}),
        template=template,
        backoff_limit=spec.number("backoffLimit", 6),
        active_deadline_s=spec.number("activeDeadlineSeconds") if "activeDeadlineSeconds" in spec else None,
    )
    spec.finish()
    return found
