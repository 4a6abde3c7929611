"""A policy on logs: laws that its figures obey, what it refuses, and the shipped policy on an episode."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from regrasp.cli import main
from regrasp.envs import load_task
from regrasp.errors import InputError
from regrasp.rl.bundle import load_bundle
from regrasp.rl.demonstrate import DemonstrateConfig, demonstrate
from regrasp.rl.runner import Player, Runner
from regrasp.sim2real import Log
from regrasp.sim2real.demonstrations import paced, to_aloha, to_episodes, to_tables
from regrasp.sim2real.measure_open_loop import measured
from regrasp.sim2real.open_loop import Run
from regrasp.sim2real.plots_policy import draw_open_loop
from regrasp.sim2real.policy_on_log import (
    observations,
    played,
    policy_on_logs,
    robot_of,
    run,
)
from regrasp.sim2real.report import write_report

NAMES = load_task("transfer_cube").workcell().action_names
ARMS = [i for i in range(14) if i not in (6, 13)]
CHUNK = 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Makes bundles of a policy that answers with a plan that it observes, and adds something to it."""

    def make(
        offset: float = 0.0,
        execute: int = 2,
        ensemble: float | None = 0.1,
        term: str = "plan",
        **meta,
    ) -> Path:
        shape, seen = ["rows", CHUNK, 14], [CHUNK, 14] if term == "plan" else [1, 14]
        graph = helper.make_graph(
            [
                # One action is played throughout the chunk.
                helper.make_node("Tile", [f"obs_{term}", "times"], ["tiled"]),
                helper.make_node("Add", ["tiled", "offset"], ["chunk"]),
            ],
            "plan",
            [
                helper.make_tensor_value_info(f"obs_{term}", TensorProto.FLOAT, ["rows", *seen]),
                helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["rows", 1]),
            ],
            [helper.make_tensor_value_info("chunk", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor("offset", TensorProto.FLOAT, [1], [offset]),
                helper.make_tensor("times", TensorProto.INT64, [3], [1, CHUNK // seen[0], 1]),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=9)
        weights = model.SerializeToString()
        onnx.checker.check_model(model)
        folder = tmp_path_factory.mktemp("bundle")
        (folder / "policy.onnx").write_bytes(weights)
        document = {
            "format": 2,
            "task": "transfer_cube",
            "observations": [{"name": term, "unit": "1", "shape": seen}],
            "action": {"names": list(NAMES)},
            "rate_hz": 50.0,
            "chunk": CHUNK,
            "execute": execute,
            "ensemble": ensemble,
            "noise_size": 1,
            "sha256": {"policy.onnx": hashlib.sha256(weights).hexdigest()},
        }
        (folder / "policy.json").write_text(json.dumps(document | meta))
        return folder

    return make


def make_log(seed: int = 0, seconds: float = 3.0, rate_hz: float = 50.0, **fields) -> Log:
    """A log of both arms in slow waves, which knows what will be commanded."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 1 / rate_hz)
    rate, phase = 1 + rng.random(14), rng.random(14)

    def wave(at):
        return 0.5 + 0.2 * np.sin(rate * at[:, None] + phase)

    cmd = wave(t)
    ahead = np.minimum(np.arange(len(t))[:, None] + np.arange(CHUNK), len(t) - 1)
    values = {
        "name": f"waves {seed}",
        "joints": NAMES,
        "t": t,
        "cmd": cmd,
        "q": wave(t - 0.06),
        "grippers": (6, 13),
        "observed": {"plan": cmd[ahead]},
    }
    return Log(**{**values, **fields})


def judged(folder: Path, *logs: Log, resample: bool = False):
    runner = Runner(folder)
    robot = robot_of(runner)
    runs = [
        run(paced(log, robot.period_s), observations(log, runner, robot, resample), runner)
        for log in logs
    ]
    return measured(runs, runner, robot.workcell, robot.period_s, "test"), runs


# ---- laws ----


def test_a_policy_that_repeats_the_commands_is_never_off(bundle):
    found, _ = judged(bundle(), make_log(0), make_log(1))
    for error in (found.arms, found.grippers, *found.phases, *found.gripper_phases):
        assert error.rmse < 1e-6
        assert error.mae <= error.rmse
    assert [one.action for one in found.look_ahead] == [1, 2, 5, 6]
    for one in found.look_ahead:
        assert one.error.rmse < 1e-6
    holding = [one.holding.rmse for one in found.look_ahead]
    assert (np.diff([0, *holding]) > 0).all()
    assert found.arc_length == pytest.approx(found.arc_length_logged, rel=1e-4)
    for joint in found.joints.values():
        assert joint.jerk == pytest.approx(joint.jerk_logged, rel=0.1)
        assert joint.beyond_range == joint.too_fast == 0


@settings(max_examples=5, deadline=None)
@given(offset=st.floats(-0.2, 0.2))
def test_a_constant_offset_is_that_everywhere(bundle, offset):
    found, _ = judged(bundle(offset), make_log(0), make_log(1))
    everywhere = [found.arms, found.grippers, *found.phases, *found.gripper_phases]
    everywhere += [one.error for one in found.look_ahead]
    everywhere += [error for error in found.regimes.values() if np.isfinite(error.rmse)]
    for error in everywhere:
        for value in (error.rmse, error.mae, *error.rmse_interval, *error.mae_interval):
            assert value == pytest.approx(abs(offset), abs=1e-6)
    for joint in found.joints.values():
        assert joint.bias == pytest.approx(offset, abs=1e-6)
        assert joint.worst == pytest.approx(abs(offset), abs=1e-6)


def test_a_whole_turn_is_no_error_of_an_angle_but_beyond_its_range(bundle):
    log = make_log()
    found, _ = judged(bundle(2 * np.pi), log)
    assert found.arms.rmse < 1e-5
    assert found.grippers.rmse == pytest.approx(2 * np.pi, rel=1e-6)
    for i, joint in enumerate(found.joints.values()):
        arm = load_task("transfer_cube").workcell().arm
        high = arm.joints[i % 7].range[1] if i % 7 < 6 else 1.0
        assert joint.beyond_range == len(log.t)
        assert joint.beyond_range_logged == 0
        furthest = log.cmd[:, i].max() + 2 * np.pi - high
        assert joint.furthest == pytest.approx(furthest, abs=1e-3)


def test_jumps_are_too_fast_where_the_motor_is_known(bundle):
    log = make_log()
    cmd = log.cmd.copy()
    cmd[70:, 0] += 0.2  # 10 rad/s for a step.
    cmd[70:, 6] += 0.2
    found, _ = judged(bundle(), replace(log, cmd=cmd, observed={"plan": log.observed["plan"]}))
    names = list(found.joints)
    assert found.joints[names[0]].too_fast_logged == 1
    assert found.joints[names[0]].too_fast == 0
    assert found.joints[names[6]].too_fast_logged == 0
    newest = bundle(ensemble=None, execute=1)
    found, _ = judged(newest, replace(log, observed={"plan": np.repeat(cmd[:, None], CHUNK, 1)}))
    assert found.joints[names[0]].too_fast == 1
    assert found.joints[names[0]].fastest > 3.14


def test_a_policy_that_holds_the_last_command_is_as_far_off_as_holding_it(bundle):
    """It observes nothing but what every log of two arms gives."""
    found, _ = judged(bundle(term="target"), make_log(0, observed={}), make_log(1, observed={}))
    for one in found.look_ahead:
        assert one.error.rmse == pytest.approx(one.holding.rmse, rel=1e-4)
        assert one.error.mae_interval == pytest.approx(one.holding.mae_interval, rel=1e-4)


def test_neither_order_nor_repetition_of_logs_matters(bundle):
    logs = [
        make_log(seed, observed={"plan": make_log(seed + 9).observed["plan"]}) for seed in (0, 1)
    ]
    found, _ = judged(bundle(), *logs)
    for others in (logs[::-1], logs * 2):
        again, _ = judged(bundle(), *others)
        assert again.arms.rmse == pytest.approx(found.arms.rmse, rel=1e-12)
        assert [p.mae for p in again.phases] == pytest.approx([p.mae for p in found.phases])
        assert again.worst_joint == found.worst_joint
    low, high = found.arms.rmse_interval
    assert low <= found.arms.rmse <= high


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 40),
    execute=st.integers(1, CHUNK),
    ensemble=st.sampled_from([None, 0.0, 0.01, 2.0]),
)
def test_what_is_played_is_what_a_player_plays(bundle, seed, steps, execute, ensemble):
    plans = np.random.default_rng(seed).normal(size=(steps, CHUNK, 14)).astype(np.float32)
    player = Player(Runner(bundle(execute=execute, ensemble=ensemble)))
    sent = np.stack([player.act({"plan": plan}) for plan in plans])
    np.testing.assert_allclose(played(plans, execute, ensemble), sent, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_figures_keep_their_order(bundle, seed, count):
    """MAE, RMSE and the largest error, whatever the errors are."""
    rng = np.random.default_rng(seed)
    runner, logs = Runner(bundle()), [make_log(k, seconds=2) for k in range(count)]
    runs = []
    for log in logs:
        chunks = log.observed["plan"] + rng.standard_t(3, log.observed["plan"].shape)
        runs.append(Run(log, chunks, chunks[:, 0], *np.full((2, len(log.t)), 0.001)))
    robot = robot_of(runner)
    found = measured(runs, runner, robot.workcell, robot.period_s, "test")
    for error in (found.arms, found.grippers, *found.phases, *found.regimes.values()):
        assert not error.mae > error.rmse + 1e-12
    for joint in found.joints.values():
        assert abs(joint.bias) <= joint.error.mae + 1e-12
        assert joint.error.rmse <= joint.worst + 1e-12
    assert found.latency.late == 0
    assert found.latency.p99_ms == pytest.approx(1.0)
    json.dumps(found.to_json(), allow_nan=False)
    assert str(found).count("\n") > 30


def test_a_drawing_depends_on_the_figures_alone(bundle):
    found, runs = judged(bundle(0.1), make_log(0, seconds=1.5), make_log(1, seconds=1.5))
    assert draw_open_loop(found, runs) == draw_open_loop(found, runs)


def test_errors_are_told_by_part_of_the_episode(bundle):
    log = make_log()
    plan = log.observed["plan"].copy()
    rows = slice(
        30, 45
    )  # The third tenth of 150 steps; what is played there overlaps its neighbours.
    plan[rows] += 0.1
    found, _ = judged(bundle(ensemble=None, execute=1), replace(log, observed={"plan": plan}))
    sizes = [one.mae for one in found.phases]
    assert sizes[2] == pytest.approx(0.1, abs=1e-6)
    assert max(sizes[:2] + sizes[3:]) < 1e-6


def test_logs_at_another_rate_are_resampled_where_that_is_asked_for(bundle):
    log = make_log(rate_hz=25.0)
    with pytest.raises(InputError, match="25 Hz, the policy acts at 50: give --resample"):
        judged(bundle(), log)
    found, (one,) = judged(bundle(), log, resample=True)
    np.testing.assert_array_equal(one.log.cmd[::2], log.cmd)
    np.testing.assert_array_equal(one.log.cmd[1::2], log.cmd[:-1])
    assert found.arms.rmse > 1e-4
    # Slightly off is what an ALOHA's loop is.
    assert (
        judged(bundle(), make_log(rate_hz=44.0))[0].steps
        == int(make_log(rate_hz=44).duration_s * 50) + 1
    )


# ---- refusals ----


def test_what_a_log_lacks_is_named_with_ways_out(tmp_path):
    to_tables([make_log(observed={})], tmp_path)
    with pytest.raises(InputError) as refused:
        policy_on_logs("transfer_cube", [tmp_path])
    said = str(refused.value)
    for part in (
        "cube_pos (3 numbers, m)",
        "cube_rot (6 numbers, rot)",
        "obs_cube_pos.0",
        "--demos",
    ):
        assert part in said
    assert "\n" not in said


def test_logs_of_another_robot_shape_or_kind_are_refused(bundle, tmp_path):
    runner = Runner(bundle())
    robot = robot_of(runner)
    log = make_log()
    one_arm = replace(log, joints=NAMES[:7], cmd=log.cmd[:, :7], q=log.q[:, :7], grippers=(6,))
    named = replace(log, joints=tuple(name.replace("waist", "base") for name in NAMES))
    following = replace(log, cmd=np.concatenate([log.q[1:], log.q[-1:]]), commands="next state")
    for odd, message in (
        (one_arm, "are not those of both arms"),
        (named, "are not those of both arms"),
        (following, "there are no commands in it"),
        (replace(log, observed={"plan": log.cmd}), "plan has 14 numbers, the policy observes 84"),
    ):
        with pytest.raises(InputError, match=message):
            observations(odd, runner, robot)
    with pytest.raises(InputError, match="observed 5 times in 150 samples"):
        replace(log, observed={"plan": log.cmd[:5]})
    with pytest.raises(InputError, match="not finite"):
        replace(log, observed={"plan": np.full((150, 2), np.nan)})
    arm = {"t": log.t} | {f"{k}_{n}": log.t for k in ("q", "cmd") for n in ("shoulder_pan", "jaw")}
    np.savez(tmp_path / "so101.npz", **arm | {"units": np.array("rad, opening")})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="joint of viperx300s"):
        policy_on_logs(bundle(), [tmp_path / "so101.npz"])
    with pytest.raises(InputError, match="no logs in"):
        policy_on_logs(bundle(), [])


def test_gaps_are_not_filled(bundle):
    log = make_log()
    rows = np.r_[0:50, 80:150]
    gappy = replace(log, **{k: getattr(log, k)[rows] for k in ("t", "cmd", "q")}, observed={})
    for resample in (False, True):
        with pytest.raises(InputError, match=r"gap of 0\.62 s at 0\.98 s"):
            judged(bundle(term="target"), gappy, resample=resample)


def test_answers_that_are_no_chunks_are_refused(bundle):
    with pytest.raises(InputError, match="not finite"):
        judged(bundle(np.inf), make_log())
    with pytest.raises(InputError, match=r"shape \(6, 14\), needs chunks \(5, 14\)"):
        judged(bundle(chunk=5), make_log())


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_bundle_that_says_nonsense_is_refused_by_name(bundle, data):
    odd = st.one_of(
        st.none(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3)), st.floats()
    )
    key = data.draw(st.sampled_from(["task", "rate_hz", "action"]))
    value = data.draw(odd | st.just({"names": None}) | st.just({"names": ["a", 3]}))
    if key == "rate_hz" and isinstance(value, int | float) and 0.1 < value < 1e4:
        return
    with pytest.raises(InputError) as refused:
        robot_of(Runner(bundle(**{key: value})))
    assert "\n" not in str(refused.value)


def test_the_verb_answers_and_refuses_in_one_line(bundle, tmp_path, capsys):
    to_tables([make_log(0), make_log(1)], tmp_path / "logs")
    picture = tmp_path / "p.png"
    main(
        ["open-loop", str(bundle(0.1)), str(tmp_path / "logs"), "--picture", str(picture), "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["arms"]["rmse"] == pytest.approx(0.1, abs=1e-6)
    assert len(found["logs"]) == 2
    assert found["latency"]["chunks"] == 300
    assert picture.read_bytes().startswith(b"\x89PNG")
    for words, message in (
        (["nothing", str(tmp_path / "logs")], "no bundle at nothing"),
        ([str(bundle()), str(tmp_path / "none")], "no log at"),
        (["transfer_cube", str(tmp_path / "logs")], "lacks cube_pos"),
        ([str(bundle()), str(tmp_path / "logs"), "--picture", "p.gif"], "ends in .png or .svg"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["open-loop", *words])
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_the_report_tells_of_a_policy_on_logs(bundle, tmp_path, capsys):
    to_tables([make_log(0), make_log(1)], tmp_path / "logs")
    out = tmp_path / "out"
    main(["open-loop", str(bundle(0.1)), str(tmp_path / "logs"), "--out", str(out), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert json.loads((out / "open_loop.json").read_text()) == found
    page = write_report(out).read_text()
    low, high = found["arms"]["rmse_interval"]
    assert f"{found['arms']['rmse']:.4f}\u00a0rad" in page
    assert f"{low:.4f} to {high:.4f}" in page
    assert "What a policy would have done" in page
    assert "gap to a real arm has not been measured" not in page
    assert page.count("<svg") == 1
    for name in found["joints"]:
        assert name.replace("_", " ") in page
    (out / "open_loop.json").write_text(json.dumps({**found, "joints": 3}))
    with pytest.raises(InputError, match=r"open_loop\.json: joints is 3"):
        write_report(out)


# ---- the shipped policy ----


def with_cube(log: Log, place: tuple[float, ...] = (0.1, 0.0, 0.02)) -> Log:
    """A log that knows where a cube lies (m)."""
    seen = {"cube_pos": place, "cube_rot": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}
    return replace(log, observed={n: np.tile(v, (len(log.t), 1)) for n, v in seen.items()})


def test_the_shipped_policy_goes_by_the_cube():
    """Nothing else differs between the logs."""
    runner = load_bundle("transfer_cube", threads=1)
    robot, log = robot_of(runner), make_log(seconds=1.5)
    near, again, far = (
        run(one, observations(one, runner, robot), runner)
        for one in (with_cube(log), with_cube(log), with_cube(log, (0.0, 0.1, 0.02)))
    )
    np.testing.assert_array_equal(near.chunks, again.chunks)
    assert near.chunks.shape == (75, runner.chunk, 14)
    assert (np.abs(far.chunks - near.chunks).max(axis=(1, 2)) > 0.01).all()


def test_files_that_hold_the_cube_give_the_same_figures(tmp_path):
    logs = [with_cube(make_log(seed, seconds=1.5), (0.02 * seed, 0.1, 0.02)) for seed in (1, 2)]
    runner = load_bundle("transfer_cube", threads=1)
    robot = robot_of(runner)
    runs = [run(log, observations(log, runner, robot), runner) for log in logs]
    found = measured(runs, runner, robot.workcell, robot.period_s, "test")
    to_aloha(logs, tmp_path / "aloha")
    to_tables(logs, tmp_path / "tables")
    header = to_episodes(logs, "transfer_cube", tmp_path / "demos")
    assert header.meta["lacks"] == []
    for kind in ("aloha", "tables", "demos"):
        again, _ = policy_on_logs("transfer_cube", [tmp_path / kind])
        assert again.steps == found.steps == 150
        assert again.arms.rmse == pytest.approx(found.arms.rmse, rel=1e-4)
        assert again.look_ahead[-1].error.mae == pytest.approx(
            found.look_ahead[-1].error.mae, rel=1e-4
        )


@pytest.mark.slow
def test_the_shipped_policy_on_the_experts_episodes(tmp_path):
    config = DemonstrateConfig(episodes=2, manner="flawless", randomize="nominal", threads=1)
    demonstrate("transfer_cube", tmp_path / "shown", config)
    found, runs = policy_on_logs("transfer_cube", [tmp_path / "shown"])
    assert found.task == "transfer_cube"
    assert found.steps == sum(len(one.log.t) for one in runs)
    assert 0.01 < found.arms.rmse < 0.5
    for joint in found.joints.values():
        assert joint.beyond_range_logged == 0
    # It goes by the cube: shown the other episode's, it is further off.
    logs = [one.log for one in runs]
    seen = [{n: log.observed[n][:1] for n in ("cube_pos", "cube_rot")} for log in logs]
    wrong = [
        replace(
            log, observed={**log.observed, **{n: np.repeat(v, len(log.t), 0) for n, v in o.items()}}
        )
        for log, o in zip(logs, seen[::-1], strict=True)
    ]
    runner = load_bundle("transfer_cube", threads=1)
    robot = robot_of(runner)
    again = [run(log, observations(log, runner, robot), runner) for log in wrong]
    worse = measured(again, runner, robot.workcell, robot.period_s, "test")
    assert worse.phases[2].mae > 1.3 * found.phases[2].mae
