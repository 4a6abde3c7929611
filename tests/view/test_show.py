"""A show can be turned back, forked, turned and pulled, and it says so when it cannot."""

from pathlib import Path

import numpy as np
import pytest

from regrasp.errors import InputError
from regrasp.rl.episodes import Episodes
from regrasp.rl.retime import replays
from regrasp.view import Show, ViewConfig
from regrasp.view.actors import Teacher
from regrasp.view.leader import REACHED_M, Pose, gripper_pose

TASK = "transfer_cube"
FORWARD = 15


def advance(show: Show, steps: int) -> np.ndarray:
    for _ in range(steps):
        show.advance()
    return show.env.state_row(0)


@pytest.mark.parametrize("which", ["show", "taught"])
def test_a_moment_has_the_same_future_again(which: str, request: pytest.FixtureRequest):
    show: Show = request.getfixturevalue(which)
    advance(show, 33)
    moment = show.keep()
    first = advance(show, FORWARD)
    show.restore(moment)
    assert show.step == 33
    np.testing.assert_array_equal(advance(show, FORWARD), first)


@pytest.mark.parametrize("which", ["show", "taught"])
def test_ghosts_that_differ_in_nothing_do_what_the_simulation_does(
    which: str, request: pytest.FixtureRequest
):
    show: Show = request.getfixturevalue(which)
    advance(show, 21)
    ghosts = show.fork(4, own_physics=False, noise=0.0)
    own = advance(show, FORWARD)
    for row in range(4):
        # A policy may round differently in a batch of four; the engine does not.
        np.testing.assert_allclose(ghosts.env.state_row(row), own, atol=1e-4)
    assert ghosts.spread_m < 1e-6
    assert ghosts.tally == {"running": 4}
    show.clear()


def test_two_small_arms_can_be_looked_into():
    show = Show(TASK, ViewConfig(workcell="so101", ghosts=2))
    assert show.env.workcell.name == "so101"
    advance(show, 9)
    moment = show.keep()
    ghosts = show.fork(2, own_physics=True, noise=0.0)
    first = advance(show, FORWARD)
    assert ghosts.env.task == show.env.task
    show.restore(moment)
    np.testing.assert_array_equal(advance(show, FORWARD), first)


def test_ghosts_of_what_bends_spread_too():
    """A cable's bodies are its clips, which stand still."""
    show = Show("route_cable", ViewConfig(ghosts=2))
    ghosts = show.fork(2, own_physics=True, noise=0.0)
    assert ghosts.spread_m < 1e-6
    advance(show, FORWARD)
    assert ghosts.spread_m > 1e-6
    points = np.asarray(ghosts.env.view().flex["cable"])
    furthest = np.linalg.norm(points[0] - points[1], axis=1).max() / 2
    assert ghosts.spread_m == pytest.approx(furthest, rel=1e-5)


def test_ghosts_of_other_physics_and_noise_spread(show: Show):
    advance(show, 21)
    ghosts = show.fork(4, own_physics=True, noise=1.0)
    start = ghosts.spread_m
    advance(show, 90)
    assert start < 1e-6 < 1e-4 < ghosts.spread_m
    joints = np.asarray(ghosts.env.view().joint_pos)
    assert (joints.std(axis=0) > 1e-4).any()
    show.clear()


def test_time_goes_back_to_the_last_moment_kept_before(show: Show):
    show.begin(1)
    advance(show, 47)
    show.restore_time(0.75)
    assert show.step == 30
    assert show.moments[-1].step == 30
    show.restore_time(0.0)
    assert show.step == 0


def test_a_moment_of_an_earlier_episode_brings_its_past_along(show: Show):
    show.begin(2)
    advance(show, 25)
    moment = show.keep()
    show.begin(3)
    advance(show, 12)
    show.restore(moment)
    assert (show.episode, show.step) == (2, 25)
    show.restore_time(0.2)
    assert (show.episode, show.step) == (2, 10)


def test_a_knob_changes_the_model_and_turns_back(show: Show):
    advance(show, 3)
    before = show.env.row_model(0)
    show.turn("cube mass", 2.0)
    cube = before.body("cube").id
    heavy = show.env.row_model(0)
    assert heavy.body_mass[cube] == pytest.approx(2 * before.body_mass[cube])
    # What follows from the mass follows.
    assert heavy.body_subtreemass[cube] == pytest.approx(2 * before.body_subtreemass[cube])
    show.turn("cube mass", 1.0)
    after = show.env.row_model(0)
    for field in ("body_mass", "body_inertia", "geom_friction", "actuator_gainprm", "dof_damping"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field), rtol=1e-6)


def test_the_knobs_of_an_episode_are_those_that_were_drawn_for_it():
    show = Show(TASK, ViewConfig(policy="leader", randomize="table"))
    kept = show.env.take(0)
    put = show.physics.put(kept, show.numbers)
    assert kept.fields.keys() == put.fields.keys()
    for name, values in kept.fields.items():
        np.testing.assert_allclose(put.fields[name], values, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(put.carry["settings"], kept.carry["settings"], rtol=1e-6)


def test_what_is_pulled_comes_and_what_is_let_go_falls(taught: Show):
    taught.act_by(taught.leader)
    start = taught.hand.place("cube")
    taught.hand.pull("cube", start + [0, 0, 0.1])
    advance(taught, 60)
    assert taught.hand.place("cube") == pytest.approx(start + [0, 0, 0.1], abs=0.005)
    taught.hand.let_go()
    advance(taught, 60)
    assert taught.hand.place("cube")[2] == pytest.approx(start[2], abs=0.005)


def test_an_arm_follows_its_handle_and_no_faster_than_it_may(taught: Show):
    taught.act_by(taught.leader)
    pose = gripper_pose(taught.env, "right")
    wanted = Pose(pose.position + [-0.05, 0.04, 0.05], pose.rotation)
    assert taught.leader.aim("right", wanted) < REACHED_M
    last = np.asarray(taught.env.view().target)[0]
    fastest = 0.0
    for _ in range(120):
        taught.advance()
        now = np.asarray(taught.env.view().target)[0]
        fastest, last = max(fastest, np.abs(now - last).max()), now
    assert fastest <= 2.0 * taught.dt_s * 1.001
    assert gripper_pose(taught.env, "right").position == pytest.approx(wanted.position, abs=0.01)
    assert taught.leader.aim("right", Pose(np.array([0.4, 0, 3.0]), pose.rotation)) > 1


def test_the_clock_stops_nobody_who_only_tries_things_out(taught: Show):
    taught.act_by(taught.leader)
    advance(taught, taught.env.horizon - 1)
    place = taught.hand.place("cube")
    advance(taught, 2)
    assert (taught.step, taught.outcome) == (1, "running")
    assert taught.hand.place("cube") == pytest.approx(place, abs=1e-6)


def test_the_expert_does_not_go_on_from_what_it_did_not_see(taught: Show):
    taught.act_by(taught.leader)
    advance(taught, 5)
    with pytest.raises(InputError, match="did not see begin"):
        taught.act_by(Teacher(TASK))
    assert taught.actor is taught.leader


def test_demonstrations_are_kept_beside_older_ones_and_replay(taught: Show):
    for count in (1, 2):
        taught.record()
        with pytest.raises(InputError, match="being recorded"):
            taught.turn("cube mass", 2.0)
        # A hand that knows what to do.
        taught.actor = Teacher(TASK, "flawless")
        taught.actor.start(taught.env, taught._key[None])
        while taught.running:
            taught.advance()
        assert taught.outcome == "success"
        assert taught.recorder.stop() == count
        taught.actor = taught.leader
    episodes = Episodes.open(taught.recorder.folder)
    episodes.header.check(TASK, taught.env.task)
    assert len(episodes) == 2
    assert replays(episodes).all()


def test_what_did_not_succeed_is_not_kept(taught: Show):
    taught.act_by(taught.leader)
    taught.record()
    advance(taught, 4)
    with pytest.raises(InputError, match="ended as running"):
        taught.recorder.stop()
    assert not taught.recorder.on


@pytest.mark.parametrize("first", ["stop", "drop"])
def test_what_was_kept_or_discarded_is_not_kept_again(taught: Show, first: str):
    recorder = taught.recorder
    before = recorder.kept
    taught.record()
    taught.outcome = "success"  # As if it had.
    recorder.before()
    recorder.after("success")
    getattr(recorder, first)()
    assert recorder.kept == before + (first == "stop")
    with pytest.raises(InputError, match="nothing is being recorded"):
        recorder.stop()
    assert recorder.kept == before + (first == "stop")


def test_who_leads_a_demonstration_leads_it_to_its_end(taught: Show):
    taught.record()
    advance(taught, 3)
    with pytest.raises(InputError, match="being recorded by who leads it"):
        taught.act_by(Teacher(TASK))
    assert taught.actor is taught.leader


def test_the_expert_acts_again_from_a_start_and_from_a_moment_of_its_own(taught: Show):
    expert = taught.actor
    advance(taught, 21)
    moment = taught.keep()
    future = advance(taught, FORWARD)
    taught.act_by(taught.leader)
    advance(taught, 5)
    # What another one has done it knows nothing of, but it knows how it came to this moment.
    taught.restore(moment)
    taught.act_by(expert)
    np.testing.assert_array_equal(advance(taught, FORWARD), future)
    taught.act_by(taught.leader)
    later = taught.keep()
    taught.begin(1)
    taught.act_by(expert)
    advance(taught, 3)
    # Refused, and everything stands where it did.
    row = taught.env.state_row(0)
    with pytest.raises(InputError, match="did not see begin"):
        taught.restore(later)
    assert (taught.episode, taught.step) == (1, 3)
    np.testing.assert_array_equal(taught.env.state_row(0), row)


def test_ghosts_have_timing_and_sensing_of_their_own(show: Show):
    advance(show, 5)
    ghosts = show.fork(4, own_physics=True, noise=0.0)
    drawn = ghosts.env.take()
    assert len(np.unique(drawn.carry["settings"], axis=0)) == 4
    assert any(len(np.unique(v.reshape(4, -1), axis=0)) == 4 for v in drawn.fields.values())
    show.clear()


def test_a_snapshot_is_gone_on_from(show: Show, tmp_path: Path):
    advance(show, 20)
    path = tmp_path / "moment.npz"
    show.env.take(0).save(path)
    row = show.env.state_row(0)
    again = Show(TASK, ViewConfig(policy=TASK, snapshot=path))
    assert again.step == 20
    np.testing.assert_array_equal(again.env.state_row(0), row)
    np.testing.assert_array_equal(advance(again, FORWARD), advance(show, FORWARD))
    with pytest.raises(InputError, match="did not see begin"):
        Show(TASK, ViewConfig(policy="expert", snapshot=path))
    with pytest.raises(InputError, match="view that task"):
        Show("hand_over", ViewConfig(snapshot=path))


def test_a_pull_of_nothing_changes_nothing_and_nonsense_is_refused(show: Show):
    moment = show.keep()
    free = advance(show, 5)
    show.restore(moment)
    show.env.pull("cube", np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(advance(show, 5), free)
    with pytest.raises(InputError, match="unknown body 'cub': did you mean 'cube'"):
        show.env.pull("cub", np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="force_n has shape"):
        show.env.pull("cube", np.zeros(3, np.float32))
    with pytest.raises(InputError, match="unknown body that moves"):
        show.hand.pull("world", np.zeros(3))
    with pytest.raises(InputError, match="choose 1 to 64"):
        show.fork(0)
    with pytest.raises(InputError, match=r"cube mass 9: choose 0\.5 to 2"):
        show.turn("cube mass", 9.0)
