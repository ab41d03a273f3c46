"""Roles: what each may do, and that the operator is no administrator."""

import pytest

from cordum.core.access.permissions import Permission, Role, UnknownRoleError, permissions_of, role_named


def test_an_administrator_may_do_everything() -> None:
    assert permissions_of(Role.ADMIN) == frozenset(Permission)


def test_an_operator_is_not_an_administrator() -> None:
    granted = permissions_of(role_named("Operator"))
    assert {Permission.JOBS_WRITE, Permission.JOBS_APPROVE, Permission.DLQ_WRITE} <= granted
    assert not {Permission.POLICY_WRITE, Permission.STATUS_ADMIN} & granted


def test_a_viewer_changes_nothing() -> None:
    assert all(permission.value.endswith(".read") for permission in permissions_of(Role.VIEWER))


def test_an_agent_submits_and_asks_and_no_more() -> None:
    granted = permissions_of(Role.USER)
    assert {Permission.JOBS_SUBMIT, Permission.POLICY_EVALUATE, Permission.JOBS_READ} <= granted
    assert not {Permission.JOBS_WRITE, Permission.JOBS_APPROVE, Permission.DLQ_READ} & granted


def test_who_may_write_jobs_may_submit_them() -> None:
    assert Permission.JOBS_SUBMIT in permissions_of(Role.OPERATOR)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UnknownRoleError, match="admin, operator, viewer, user"):
        role_named("root")
