"""Kubernetes objects held against their schemas, without a cluster and without a network.

Kubernetes' own kinds have theirs in ``kubernetes-validate``, Dask's in the CRDs inside the
``dask-kubernetes`` wheel. Both are read strictly: an unknown field is a misspelt one.
"""

import copy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from clusters import pods_of

_REASON = "needs pip install -e '.[deploy]'"
jsonschema = pytest.importorskip("jsonschema", reason=_REASON)
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=_REASON)
pytest.importorskip("dask_kubernetes", reason=_REASON)

VERSION = "1.33"  # of Kubernetes; podFailurePolicy is part of it since 1.31


def problems(content):
    """Return what is wrong with the objects of a YAML file, a line each."""
    return [line for given in yaml.safe_load_all(content) if given for line in _problems(given)]


def _problems(given):
    named = f"{given.get('kind')}/{given.get('metadata', {}).get('name')}"
    schema = _dask_schemas().get((given.get("apiVersion"), given.get("kind")))
    if schema is None:
        yield from (f"{named}: {line}" for line in _refused(given))
        return
    for error in jsonschema.Draft7Validator(schema).iter_errors(given):
        yield f"{named}: {'.'.join(map(str, error.absolute_path))}: {error.message[:160]}"
    # The CRD has the pods of Kubernetes 1.21.
    for pod in pods_of(given["spec"]):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
        yield from (f"{named}: a pod: {line}" for line in _refused(whole))
    yield from (f"{named}: {line}" for line in _unreachable(given))


def _refused(given):
    try:
        kubernetes_validate.validate(given, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:160]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield str(error)


def _unreachable(given):
    """Yield a line if the scheduler's service selects another cluster's scheduler."""
    spec = given["spec"]
    if given["kind"] == "DaskJob":
        spec = spec.get("cluster", {}).get("spec", {})
    service = spec.get("scheduler", {}).get("service")
    if service is not None:
        selected = service.get("selector", {}).get("dask.org/cluster-name")
        if selected != given["metadata"]["name"]:
            yield f"the scheduler's service selects cluster {selected!r}"


@cache
def _dask_schemas():
    package = Path(find_spec("dask_kubernetes").origin).parent
    schemas = {}
    for path in package.glob("operator/deployment/helm/*/crds/*.yaml"):
        crd = yaml.safe_load(path.read_text())["spec"]
        version = next(each for each in crd["versions"] if each["storage"])
        schema = _strict(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
        own = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        schema["properties"].update(own, metadata={"type": "object"})
        schemas[f"{crd['group']}/{version['name']}", crd["names"]["kind"]] = schema
    return schemas


def _strict(schema):
    """Return an OpenAPI schema as JSON schema, with unknown fields refused."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _strict(each) for name, each in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    open_ended = "additionalProperties" in schema or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if isinstance(schema.get("properties"), dict) and not open_ended:
        schema["additionalProperties"] = False
    return schema
