"""Parameters are declared from one dataclass, and what cannot be set says why."""

import pytest

from segzero_ros.config import NodeConfig, parameters
from segzero_ros.errors import Code, RejectedInput


def refused(**values: object) -> RejectedInput:
    with pytest.raises(RejectedInput) as error:
        NodeConfig.from_mapping(values)
    return error.value


def test_every_parameter_has_a_description_and_a_default_that_is_allowed() -> None:
    assert NodeConfig.from_mapping({parameter.name: parameter.default for parameter in parameters()}) == NodeConfig()
    for parameter in parameters():
        assert len(parameter.description) > 10
        assert type(parameter.default) is parameter.kind
        assert (parameter.low is None) == (parameter.kind in (bool, str))


def test_values_replace_defaults_and_whole_numbers_do_for_seconds() -> None:
    config = NodeConfig.from_mapping({"stale_sec": 2, "busy_policy": "reject"})
    assert (config.stale_sec, type(config.stale_sec), config.busy_policy) == (2.0, float, "reject")
    assert config.bundle == NodeConfig().bundle


def test_an_unknown_parameter_gets_the_nearest_name() -> None:
    error = refused(stale_secs=2.0)
    assert error.code is Code.CONFIG_UNKNOWN
    assert "did you mean 'stale_sec'" in error.detail


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("stale_sec", 0.0, "0.05..60"),
        ("stale_sec", float("nan"), "0.05..60"),
        ("stale_sec", float("inf"), "0.05..60"),
        ("stale_sec", "1.0", "float"),
        ("stale_sec", True, "float"),
        ("threads", 2.0, "int"),
        ("threads", -1, "0..256"),
        ("threads", True, "int"),
        ("use_depth", 1, "bool"),
        ("use_depth", "true", "bool"),
        ("busy_policy", "prempt", "did you mean 'preempt'"),
        ("backend", "tensorrtx", "auto or tensorrt or onnx or torch_cuda or tensorrt_llm or remote or fake"),
        ("bundle", "./here", "absolute path"),
        ("bundle", None, "str"),
        ("label", 5, "str"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_says_what_is_wanted(name: str, value: object, wanted: str) -> None:
    error = refused(**{name: value})
    assert error.code is Code.CONFIG_VALUE
    assert name in error.detail
    assert wanted in error.detail


def test_the_limits_themselves_are_allowed() -> None:
    for parameter in parameters():
        for limit in (parameter.low, parameter.high):
            if limit is not None:
                NodeConfig.from_mapping({parameter.name: parameter.kind(limit)})


def test_a_configuration_made_by_hand_is_checked_too() -> None:
    with pytest.raises(RejectedInput):
        NodeConfig(overlay_quality=0)


def test_names_of_before_are_taken_for_their_new_ones() -> None:
    assert NodeConfig.from_mapping({"speculate": 3}).draft_tokens == 3
