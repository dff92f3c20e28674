"""The API document: valid, complete, true of the routes and of the Structs, and faithful to the seed."""

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from fakes.documents import document, resolved, validator
from fakes.vaults import RunningVault
from mediavault.api.keeping import PinRequest
from mediavault.api.media import BatchRequest
from mediavault.api.older import OlderPage
from mediavault.api.webhooks import ReplayRequest, RotateRequest
from mediavault.domain import settings
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType
from mediavault.domain.responding import ALLOWED_METHODS
from mediavault.vault import (
    at_risk,
    configuring,
    connecting,
    deriving,
    explaining,
    identifying,
    list_contents,
    listing,
    pinning,
    reading,
    simulating,
    syncing,
    webhook_messages,
)
from mediavault.vault.authorising import Scope

SEED = yaml.safe_load(Path(__file__).with_name("seed_item.yaml").read_text())
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
OPERATIONS = [
    (method, path, operation)
    for path, at in document()["paths"].items()
    for method, operation in at.items()
    if method in METHODS
]
SCHEMAS = document()["components"]["schemas"]
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "MediaItem": reading.ItemView,
    "Variant": reading.VariantView,
    "MediaPage": listing.MediaPage,
    "ConnectionTotals": reading.ConnectionTotals,
    "OrganisationTotals": reading.OrganisationTotals,
    "Connection": connecting.ConnectionView,
    "UserData": connecting.UserData,
    "UpstreamGiven": connecting.UpstreamGiven,
    "ImportRequest": connecting.ImportRequest,
    "RefreshRequest": connecting.RefreshRequest,
    "BatchRequest": BatchRequest,
    "List": list_contents.ListView,
    "ListPage": list_contents.ListsPage,
    "ListItem": list_contents.ListItemView,
    "ListMediaPage": list_contents.ListMediaPage,
    "ListAdded": syncing.AddResult,
    "ListSynced": syncing.SyncResult,
    "OlderMediaItem": identifying.OlderItemView,
    "OlderVariant": identifying.OlderVariantView,
    "OlderPage": OlderPage,
    "PinRequest": PinRequest,
    "Pin": pinning.PinView,
    "Risk": at_risk.RiskView,
    "RiskPage": at_risk.RiskPage,
    "VaultSettings": settings.VaultSettings,
    "SettingsOverrides": settings.SettingsOverrides,
    "OrganisationVaultPlus": settings.OrganisationSettings,
    "OrganisationSettings": simulating.OrganisationSettingsView,
    "OrganisationVaultPlusPatch": configuring.OrganisationVaultPlus,
    "OrganisationSettingsPatch": configuring.OrganisationPatch,
    "OrganisationSettingsChanged": simulating.OrganisationChanged,
    "PurgeResult": simulating.PurgeResult,
    "ConnectionPurgeResult": simulating.ConnectionPurgeResult,
    "BroadcastResult": simulating.BroadcastResult,
    "SettingsStats": simulating.Stats,
    "ConnectionVaultPlus": simulating.ConnectionVaultPlusView,
    "ConnectionSettings": simulating.ConnectionSettingsView,
    "ConnectionVaultPlusPatch": configuring.ConnectionVaultPlus,
    "ConnectionSettingsPatch": configuring.ConnectionPatch,
    "ConnectionSettingsChanged": simulating.ConnectionChanged,
    "SimulatedRule": simulating.RuleShare,
    "Simulated": simulating.WouldDo,
    "Simulation": simulating.Simulation,
    "ExplainedPin": explaining.Pin,
    "ExplainedPolicy": explaining.PolicyView,
    "ExplainedNext": explaining.Next,
    "ExplainedThumbnail": deriving.ThumbnailView,
    "ExplainedVariant": explaining.Explained,
    "Explanation": explaining.Explanation,
    "WebhookEndpoint": webhook_messages.EndpointView,
    "WebhookEndpointSecret": webhook_messages.EndpointSecretView,
    "WebhookEndpointRequest": webhook_messages.EndpointRequest,
    "WebhookEndpointChange": webhook_messages.EndpointChange,
    "WebhookRotation": RotateRequest,
    "WebhookReplay": ReplayRequest,
    "WebhookDelivery": webhook_messages.DeliveryView,
}
#: What is sent to the vault: there a field with a default may be left out. In an answer it always stands.
REQUESTS = {
    *("UpstreamGiven", "ImportRequest", "RefreshRequest", "BatchRequest", "PinRequest", "SettingsOverrides"),
    *("OrganisationVaultPlusPatch", "OrganisationSettingsPatch", "ConnectionVaultPlusPatch", "ConnectionSettingsPatch"),
    *("WebhookEndpointRequest", "WebhookEndpointChange", "WebhookRotation", "WebhookReplay"),
}
JSON_TYPES = {
    str: {"string"},
    int: {"number", "integer"},
    float: {"number"},
    bool: {"boolean"},
    types.NoneType: {"null"},
}


def test_the_document_is_openapi_3_1():
    validate(document(), cls=OpenAPIV31SpecValidator)


def test_nullability_is_written_as_json_schema_writes_it():
    assert "nullable" not in yaml.safe_dump(document())


async def test_the_document_lists_what_the_application_has_and_nothing_else(vault: RunningVault):
    served = {(method.lower(), re.sub(r"\{\w+\}", "{}", path)) for method, path in vault.vault.api.operations()}
    told = {
        (method, re.sub(r"\{\w+\}", "{}", path)) for method, path, _ in OPERATIONS if not path.startswith("/v2/{token}")
    }
    heads_beside_a_get = {("head", path) for method, path in told if method == "get"}
    assert told - served == set()
    assert served - told - heads_beside_a_get == set()


def test_the_document_lists_the_media_hosts_methods():
    listed = {method.upper() for method, path, _ in OPERATIONS if path == "/v2/{token}"}
    assert listed == set(ALLOWED_METHODS)
    assert document()["paths"]["/v2/{token}"]["servers"] != document()["servers"]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_operation_is_named_tagged_and_has_an_example_of_each_answer(method, path, operation):
    assert operation["summary"]
    assert set(operation["tags"]) <= {tag["name"] for tag in document()["tags"]}
    for status, answer in operation["responses"].items():
        for content in resolved(answer).get("content", {}).values():
            assert "example" in content or content.get("examples"), f"{status} of {method} {path}"
    if "requestBody" in operation:
        assert "example" in operation["requestBody"]["content"]["application/json"]


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


def contents() -> Iterator[tuple[str, Any]]:
    for _, path, operation in OPERATIONS:
        yield path, operation.get("requestBody", {"content": {}})["content"]
        for answer in operation["responses"].values():
            yield path, resolved(answer).get("content", {})


def test_every_example_fits_its_schema():
    checked = 0
    for path, content in contents():
        described = content.get("application/json")
        if described is None:
            continue
        values = [named["value"] for named in described.get("examples", {}).values()]
        for value in [*values, *([described["example"]] if "example" in described else [])]:
            errors = [error.message for error in validator(described["schema"]).iter_errors(value)]
            assert errors == [], path
            checked += 1
    assert checked > 60


def test_every_authorised_operation_foresees_401_and_every_connection_400():
    for _, path, operation in OPERATIONS:
        if operation.get("security") != []:
            assert "401" in operation["responses"], path
        parameters = [*operation.get("parameters", []), *document()["paths"][path].get("parameters", [])]
        if any(resolved(parameter)["name"] == "x-connection-id" for parameter in parameters):
            assert "400" in operation["responses"], path


def json_types(annotation) -> set[str]:
    """The JSON types of an annotation, as the document may write them."""
    if annotation in JSON_TYPES:
        return JSON_TYPES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, str):
        return {"string"}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return {"object"}
    if annotation is typing.Any:
        return set().union(*JSON_TYPES.values(), {"object", "array"})
    if annotation is msgspec.UnsetType:  # it is left out
        return set()
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return {name for value in typing.get_args(annotation) for name in JSON_TYPES[type(value)]}
    if origin in {list, tuple}:
        return {"array"}
    if origin is dict:
        return {"object"}
    return {name for part in typing.get_args(annotation) for name in json_types(part)}


def written_types(schema) -> set[str]:
    if "oneOf" in schema:
        return {name for part in schema["oneOf"] for name in written_types(resolved(part))}
    kind = resolved(schema)["type"]
    return {kind} if isinstance(kind, str) else set(kind)


def is_always_told(name: str, field: msgspec.structs.FieldInfo) -> bool:
    return field.required if name in REQUESTS else field.default is not msgspec.UNSET


def test_every_schema_of_an_object_is_held_against_a_struct_or_made_by_hand():
    by_hand = {"Error", "Queued", "Liveness", "Readiness", "Whoami", "Success", "Removed", "PurgedMedia", "Batch"}
    by_hand |= {"RestoredMedia", "ConnectionPage", "WebhookEndpointList", "WebhookReplayed", "WebhookDeliveryPage"}
    by_hand |= {"OlderBatch", "OlderPurged", "OlderConnectionTotals", "OlderListQueued"}
    objects = {name for name, schema in SCHEMAS.items() if schema.get("type") == "object"}
    assert objects - by_hand == set(STRUCTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_schema_and_its_struct_have_the_same_fields(name):
    schema, struct = SCHEMAS[name], STRUCTS[name]
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    hints = typing.get_type_hints(struct)
    assert set(schema["properties"]) == set(fields)
    always = {told for told, field in fields.items() if is_always_told(name, field)}
    assert set(schema.get("required", [])) == always
    for told, field in fields.items():
        possible, written = json_types(hints[field.name]), written_types(schema["properties"][told])
        assert written <= possible, told
        assert ("null" in written) is ("null" in possible), told


def test_the_enums_are_the_codes_own():
    assert SCHEMAS["Variant"]["properties"]["status"]["enum"] == [status.value for status in Status]
    assert SCHEMAS["Queued"]["properties"]["status"]["enum"] == [status.value for status in Status]
    assert SCHEMAS["MediaItem"]["properties"]["type"]["enum"] == [kind.value for kind in MediaType]
    assert set(SCHEMAS["ConnectionStatus"]["enum"]) == set(connecting.STATUSES)
    assert set(SCHEMAS["Whoami"]["properties"]["permissions"]["items"]["enum"]) == set(Scope)


class TestSeed:
    """The document says of the item what the user's document says of it."""

    operation = document()["paths"][SEED["path"]][SEED["method"]]

    def test_security(self):
        assert self.operation.get("security", document()["security"]) == SEED["security"]
        scheme = document()["components"]["securitySchemes"]["ApiKey"]
        assert {name: scheme[name] for name in SEED["securityScheme"]} == SEED["securityScheme"]

    def test_parameters(self):
        told = {}
        for parameter in map(resolved, self.operation["parameters"]):
            schema = {name: value for name, value in parameter["schema"].items() if name in {"type", "minLength"}}
            told[parameter["name"]] = {"in": parameter["in"], "required": parameter["required"], **schema}
        assert told == SEED["parameters"]

    @pytest.mark.parametrize(("fact", "schema"), [("item", "MediaItem"), ("variant", "Variant")])
    def test_fields(self, fact, schema):
        told, facts = SCHEMAS[schema], SEED[fact]
        assert told["type"] == "object"
        assert told["required"] == facts["required"]
        assert {name: described["type"] for name, described in told["properties"].items()} == facts["types"]
        enums = {name: described["enum"] for name, described in told["properties"].items() if "enum" in described}
        assert enums == facts["enum"]

    def test_variants_are_keyed_by_label(self):
        assert resolved(SCHEMAS["MediaItem"]["properties"]["media"]["additionalProperties"]) is SCHEMAS["Variant"]
        answer = self.operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert resolved(answer) is SCHEMAS["MediaItem"]

    def test_errors(self):
        assert set(SEED["errors"]) <= set(self.operation["responses"])
        assert set(SEED["error"]["required"]) <= set(SCHEMAS["Error"]["required"])
        for name, kind in SEED["error"]["types"].items():
            assert SCHEMAS["Error"]["properties"][name]["type"] == kind
        for status, text in SEED["texts"].items():
            content = resolved(self.operation["responses"][status])["content"]["application/json"]
            assert resolved(content["schema"]) is SCHEMAS["Error"]
            values = [content.get("example"), *(named["value"] for named in content.get("examples", {}).values())]
            assert text in {value["error"] for value in values if value}
