"""The gRPC API: the same pipeline, the same refusals."""

from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cordum.rpc.gen.cordum.v1 import api_pb2, api_pb2_grpc

from .conftest import AGENT, STRANGER, VIEWER, MakeWorld, World


async def call(world: World, method: str, request: Any, key: str | None = AGENT, **metadata: str) -> Any:
    sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    if key:
        sent.append(("x-api-key", key))
    async with grpc.aio.insecure_channel(world.grpc_address) as channel:
        return await getattr(api_pb2_grpc.CordumApiStub(channel), method)(request, metadata=sent, timeout=10)


async def refusal(
    world: World, method: str, request: Any, key: str | None = AGENT, **metadata: str
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(world, method, request, key, **metadata)
    return caught.value


async def test_a_job_is_submitted_and_followed(world: World, api: httpx.AsyncClient) -> None:
    request = api_pb2.SubmitJobRequest(prompt="x", topic="job.default", labels={"a": "b"}, risk_tags=["low"])
    answer = await call(world, "SubmitJob", request)
    assert answer.job_id and answer.trace_id and answer.status == "accepted"
    shown = (await api.get(f"/api/v1/jobs/{answer.job_id}")).json()
    assert shown["labels"] == {"a": "b", "_source": "api"} and shown["risk_tags"] == ["low"]
    status = await call(world, "GetJobStatus", api_pb2.GetJobStatusRequest(job_id=answer.job_id))
    assert status.status == "PENDING"
    bearer = await call(
        world, "GetJobStatus", api_pb2.GetJobStatusRequest(job_id=answer.job_id), None, authorization=f"Bearer {AGENT}"
    )
    assert bearer.status == "PENDING"
    other = await call(world, "GetJobStatus", api_pb2.GetJobStatusRequest(job_id=answer.job_id), STRANGER)
    assert other.status == "UNKNOWN"


async def test_the_pipeline_is_the_one_of_http(world: World, api: httpx.AsyncClient) -> None:
    parked = await call(world, "SubmitJob", api_pb2.SubmitJobRequest(prompt="x", risk_tags=["payment"]))
    assert (parked.status, parked.reason) == ("approval_required", "a person first")
    denied = await refusal(world, "SubmitJob", api_pb2.SubmitJobRequest(prompt="x", risk_tags=["destructive"]))
    assert denied.code() is grpc.StatusCode.PERMISSION_DENIED and denied.details() == "never destroy"
    trailers: Any = denied.trailing_metadata()
    kept = dict(trailers)["job-id"]
    assert (await api.get(f"/api/v1/jobs/{kept}")).json()["state"] == "DENIED"
    first, second = [
        await call(world, "SubmitJob", api_pb2.SubmitJobRequest(prompt="x", idempotency_key="k")) for _ in range(2)
    ]
    assert first.job_id == second.job_id and second.status == "duplicate"
    await world.register(job_default="active")
    unknown = await refusal(world, "SubmitJob", api_pb2.SubmitJobRequest(prompt="x", topic="job.nope"))
    assert unknown.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_refusals_have_their_codes(world: World) -> None:
    fine = api_pb2.SubmitJobRequest(prompt="x")
    for request, key, metadata, code in (
        (fine, None, {}, grpc.StatusCode.UNAUTHENTICATED),
        (fine, "wrong", {}, grpc.StatusCode.UNAUTHENTICATED),
        (fine, VIEWER, {}, grpc.StatusCode.PERMISSION_DENIED),
        (fine, AGENT, {"x_tenant_id": "other"}, grpc.StatusCode.PERMISSION_DENIED),
        (api_pb2.SubmitJobRequest(), AGENT, {}, grpc.StatusCode.INVALID_ARGUMENT),
        (api_pb2.SubmitJobRequest(prompt="x", priority="now"), AGENT, {}, grpc.StatusCode.INVALID_ARGUMENT),
        (api_pb2.SubmitJobRequest(prompt="x", topic="job.slow"), AGENT, {}, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        assert (await refusal(world, "SubmitJob", request, key, **metadata)).code() is code


async def test_grpc_is_limited_with_http(make_world: MakeWorld) -> None:
    world = await make_world(API_RATE_LIMIT_RPS="1", API_RATE_LIMIT_BURST="2")
    status = api_pb2.GetJobStatusRequest(job_id="x")
    for _ in range(2):
        await call(world, "GetJobStatus", status)
    assert (await refusal(world, "GetJobStatus", status)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.seed("S67")
async def test_health_answers_without_credentials_and_tells_of_draining(world: World) -> None:
    async with grpc.aio.insecure_channel(world.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "cordum.v1.CordumApi"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert world.gateway.grpc is not None
        await world.gateway.grpc.set_not_serving()
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.seed("S33")
async def test_reflection_is_off_unless_asked_for(make_world: MakeWorld) -> None:
    async def services(world: World) -> list[str]:
        async with grpc.aio.insecure_channel(world.grpc_address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            async for answer in stub.ServerReflectionInfo(asked, timeout=5):
                return [service.name for service in answer.list_services_response.service]
        return []

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await services(await make_world())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "cordum.v1.CordumApi" in await services(await make_world(CORDUM_GRPC_REFLECTION="1"))
