"""Workcells: two arms of one kind, of whatever kind, and tables of one's own."""

import json
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from regrasp.assets import SIDES, WORKCELLS, Workcell, load_arm, load_workcell
from regrasp.assets.arm import FOLDER
from regrasp.assets.hand import SITE, TIPS
from regrasp.assets.surroundings import TABLE_TOP_M
from regrasp.errors import InputError


@pytest.fixture(scope="module", params=WORKCELLS)
def cell(request: pytest.FixtureRequest) -> Workcell:
    return load_workcell(request.param)


@pytest.fixture(scope="module")
def model(cell: Workcell) -> mujoco.MjModel:
    return cell.spec().compile()


def at_home(cell: Workcell, model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for name, position in cell.home_qpos().items():
        data.joint(name).qpos = position
    for i, name in enumerate(cell.action_names):
        data.ctrl[i] = cell.home_qpos()[name]
    mujoco.mj_forward(model, data)
    return data


def test_home_is_free_of_contact_and_the_arms_stay_there(cell: Workcell, model: mujoco.MjModel):
    data = at_home(cell, model)
    assert data.ncon == 0
    before = data.qpos.copy()
    mujoco.mj_step(model, data, 300)
    assert np.abs(data.qpos - before).max() < 0.12
    assert np.abs(data.qvel).max() < 0.01
    assert not data.warning.number.any()


def test_the_arms_face_each_other(cell: Workcell, model: mujoco.MjModel):
    """One is the other, turned by half a turn about the middle."""
    data = at_home(cell, model)
    left, right = (data.site(f"{side}/{SITE}") for side in SIDES)
    turn = np.diag([-1.0, -1.0, 1.0])
    middle = np.array([0.0, cell.stand_m[1], 0.0])
    np.testing.assert_allclose(turn @ (left.xpos - middle) + middle, right.xpos, atol=1e-9)
    np.testing.assert_allclose(turn @ left.xmat.reshape(3, 3), right.xmat.reshape(3, 3), atol=1e-9)
    assert left.xpos[0] < 0 < right.xpos[0]
    assert left.xmat.reshape(3, 3)[0, 0] > 0.5


def test_the_grasp_site_lies_between_the_tips_along_its_y(cell: Workcell, model: mujoco.MjModel):
    data = at_home(cell, model)
    for side in SIDES:
        for opening in (0.1, 0.3):
            gripper = f"{side}/{cell.arm.joint_names[-1]}"
            data.joint(gripper).qpos = cell.arm.position(opening)
            if cell.arm.gripper.follower is not None:
                data.joint(f"{side}/{cell.arm.gripper.follower}").qpos = cell.arm.position(opening)
            mujoco.mj_forward(model, data)
            site = data.site(f"{side}/{SITE}")
            first, second = (data.geom(f"{side}/{tip}").xpos - site.xpos for tip in TIPS)
            axes = site.xmat.reshape(3, 3)
            gap = (second - first) @ axes
            assert abs(gap[1]) > 3 * np.abs(gap[[0, 2]]).max()
            assert np.sign(first @ axes[:, 1]) == -np.sign(second @ axes[:, 1])


def test_no_gripper_gets_further_than_the_reach(cell: Workcell, model: mujoco.MjModel):
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    names = [name for name in cell.action_names if name.startswith("left/")][:-1]
    rows = [model.joint(name).qposadr[0] for name in names]
    ranges = np.array([model.joint(name).range for name in names])
    furthest = 0.0
    for _ in range(20000):
        data.qpos[rows] = rng.uniform(*ranges.T)
        mujoco.mj_kinematics(model, data)
        place = data.site(f"left/{SITE}").xpos
        if 0 < place[2] < 0.04:
            furthest = max(furthest, float(np.linalg.norm(place[:2] - cell.base_m("left"))))
    assert 0.75 * cell.reach_m < furthest < cell.reach_m + 0.002


def test_arms_stand_on_the_table(cell: Workcell, model: mujoco.MjModel):
    half = cell.table_half_m
    np.testing.assert_allclose(model.geom("table").size[:2], half)
    for side in SIDES:
        assert (np.abs(cell.base_m(side)) < half - 0.03).all()
    assert cell.stand_m[2] >= TABLE_TOP_M


def test_standard_names_are_there(cell: Workcell, model: mujoco.MjModel):
    for side in SIDES:
        for name in (*TIPS, *cell.arm.hand.fingers, *cell.arm.hand.palm):
            geom = model.geom(f"{side}/{name}")
            assert geom.contype or geom.conaffinity
        unnamed = [
            i
            for i in range(model.ngeom)
            if not model.geom(i).name and (model.geom_contype[i] or model.geom_conaffinity[i])
        ]
        assert not unnamed


# ---- tables of one's own ----


def table() -> dict:
    found = json.loads((FOLDER / "so101.json").read_text())
    return {**found, "model": str(FOLDER / "so101.xml")}


def written(folder: Path, **changes) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps({**table(), **changes}))
    return str(path)


def test_a_table_in_a_file_is_a_workcell(tmp_path: Path):
    mine, known = load_workcell(written(tmp_path)), load_workcell("so101")
    assert mine.name == "mine"
    assert mine.action_names == known.action_names
    ours, theirs = mine.spec().compile(), known.spec().compile()
    np.testing.assert_array_equal(ours.body_pos, theirs.body_pos)
    np.testing.assert_array_equal(ours.geom_size, theirs.geom_size)


def test_tips_and_site_may_be_named_otherwise_or_added(tmp_path: Path):
    spot = {"body": "gripper", "pos": [0.0, 0.0, -0.09]}
    box = {
        "body": "moving_jaw_so101_v1",
        "pos": [-0.007, -0.06, 0.019],
        "size": [0.003, 0.01, 0.01],
    }
    hand = {"tips": ["fixed_finger", box], "site": spot, "fingers": [], "palm": []}
    # Names that are given anew must be free.
    model = tmp_path / "mine.xml"
    text = (FOLDER / "so101.xml").read_text()
    for name in (*TIPS, SITE):
        text = text.replace(f'name="{name}"', f'name="{name}_old"', 1 if name != SITE else -1)
    text = text.replace('body name="gripper_old"', 'body name="gripper"')
    text = text.replace('joint name="gripper_old"', 'joint name="gripper"')
    model.write_text(text)
    spec = load_workcell(written(tmp_path, model="mine.xml", hand=hand)).arm.spec()
    assert spec.geom("left_tip").parent.name == "gripper"
    assert spec.geom("right_tip").parent.name == "moving_jaw_so101_v1"
    np.testing.assert_allclose(spec.site(SITE).pos, spot["pos"])
    spec.compile()


def test_limits_reach_a_model_that_counts_in_degrees(tmp_path: Path):
    text = (FOLDER / "so101.xml").read_text().replace('angle="radian"', 'angle="degree"')
    (tmp_path / "mine.xml").write_text(text)
    model = load_workcell(written(tmp_path, model="mine.xml")).spec().compile()
    for joint in load_arm("so101").joints:
        np.testing.assert_allclose(model.joint(f"left/{joint.name}").range, joint.range)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "nowhere.xml"}, "nowhere.xml"),
        ({"workcell": None}, "no workcell"),
        ({"workcell": {"stand": [0, 0, 0]}}, "stand_m"),
        ({"workcell": {"stand_m": [0.3, 0.0]}}, "x > 0"),
        ({"workcell": {"stand_m": [-0.3, 0.0, 0.0]}}, "x > 0"),
        ({"workcell": {"reach_m": "far"}}, "give numbers"),
        ({"workcell": {"scale": 0}}, "above 0"),
        ({"workcell": {"tasks": ["transfer_cube"]}}, "tasks"),
        ({"workcell": {"tasks": {"transfer_cube": {"size": 1}}}}, "expert"),
        ({"workcell": {"home": {"elbow": 1.0}}}, "elbow_flex"),
        ({"hand": {"tip": []}}, "tips"),
        ({"hand": {"tips": ["left_tip", "thumb"]}}, "thumb"),
        ({"hand": {"site": {"body": "palm", "pos": [0, 0, 0]}}}, "palm"),
        ({"joints": [{"name": "gripper"}]}, "range"),
        ({"gripper": {"closed": 0.0, "open": 1.0}}, "follower"),
        ({"gripperr": {}}, "gripperr.*did you mean 'gripper'"),
        ({"joints": [{**table()["joints"][0], "limits": [0, 1]}]}, "figure of joint.*limits"),
        ({"joints": [{**table()["joints"][0], "home": 9.0}]}, "home 9 of joint .*: choose"),
        ({"contact_exclusions": [["base", "elbow"]]}, "body of the arm's model.*elbow"),
        ({"hand": {"fingers": ["nail"]}}, "nail"),
        ({"hand": {"palm": ["nail"]}}, "nail"),
        ({"hand": {"tips": ["left_tip", {"body": "gripper", "pos": [0, 0, 0]}]}}, "size"),
    ],
)
def test_a_table_that_fits_nothing_is_refused(tmp_path: Path, changes: dict, words: str):
    with pytest.raises(InputError, match=words):
        load_workcell(written(tmp_path, **changes)).spec()


@pytest.mark.parametrize("name", ["so100", "no/such/table.json"])
def test_an_unknown_workcell_is_refused(name: str):
    with pytest.raises(InputError, match=name):
        load_workcell(name)


@pytest.mark.parametrize(
    ("sign", "coupling", "limits"),
    [
        *((1, 0, ""), (1, 1, ""), (1, 0, 'range="-0.02 0.01"')),
        *((-1, -1, ""), (-1, -1, 'range="-0.05 0"'), (-1, 0, 'range="-0.05 0"')),
    ],
)
@pytest.mark.parametrize(
    "order", [("right_finger", "left_finger"), ("left_finger", "right_finger")]
)
def test_a_follower_mirrors_whichever_way_its_axis_points(
    tmp_path: Path, sign: int, coupling: int, limits: str, order: tuple[str, str]
):
    """The model says so by its own coupling of the two, in either order, or by a range."""
    text = (FOLDER / "viperx300s.xml").read_text()
    axis = 'name="right_finger" type="slide" axis="0 0 -1"'
    assert axis in text
    text = text.replace(axis, f'name="right_finger" type="slide" axis="0 0 {-sign}" {limits}')
    ours = 'name="left_finger" type="slide"'
    text = text.replace(ours, f'{ours} range="0 0.05"')
    if coupling:
        pair = f'joint1="{order[0]}" joint2="{order[1]}" polycoef="0 {coupling} 0 0 0"'
        text = text.replace("</mujoco>", f"<equality><joint {pair}/></equality></mujoco>")
    (tmp_path / "mine.xml").write_text(text)
    shipped = json.loads((FOLDER / "viperx300s.json").read_text())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**shipped, "model": "mine.xml"}))
    cells = [load_workcell(str(path)), load_workcell("aloha")]
    mine, known = (at_home(cell, cell.spec().compile()) for cell in cells)
    assert mine.model.neq == known.model.neq
    for data in (mine, known):
        data.ctrl[list(cells[0].gripper_columns)] = cells[0].arm.position(0.9)
        mujoco.mj_step(data.model, data, 100)
    np.testing.assert_array_equal(mine.qpos, known.qpos)
    np.testing.assert_array_equal(mine.geom_xpos, known.geom_xpos)


def test_a_follower_that_moves_another_distance_is_refused(tmp_path: Path):
    text = (FOLDER / "viperx300s.xml").read_text()
    pair = 'joint1="right_finger" joint2="left_finger" polycoef="0 0.5 0 0 0"'
    (tmp_path / "mine.xml").write_text(
        text.replace("</mujoco>", f"<equality><joint {pair}/></equality></mujoco>")
    )
    shipped = json.loads((FOLDER / "viperx300s.json").read_text())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**shipped, "model": "mine.xml"}))
    with pytest.raises(InputError, match=r"right_finger .* is coupled to left_finger"):
        load_workcell(str(path)).spec()


def test_lights_and_cameras_that_follow_a_body_stay_behind(tmp_path: Path):
    """A scene has its own lights, and a part of the arm may be left out of it."""
    text = (FOLDER / "so101.xml").read_text()
    extra = '<light mode="targetbody" target="wrist"/><camera mode="targetbody" target="wrist"/>'
    text = text.replace("<worldbody>", f'<worldbody>{extra}<camera name="still"/>', 1)
    (tmp_path / "mine.xml").write_text(text)
    spec = load_workcell(written(tmp_path, model="mine.xml")).arm.spec()
    assert not spec.lights
    assert [camera.name for camera in spec.cameras if not camera.name.startswith("wrist")] == [
        "still"
    ]


def test_more_geoms_of_the_hand_go_beside_the_tips(tmp_path: Path):
    for tips, fingers in (
        (TIPS, ["fixed_finger"]),
        (("fixed_finger", "right_tip"), ["moving_finger", "fixed_finger"]),
    ):
        arm = load_workcell(written(tmp_path, hand={"tips": tips, "fingers": fingers})).arm
        assert set(TIPS) < set(arm.hand.fingers)
        assert len(arm.hand.fingers) == 3


def test_an_arm_alone_needs_no_hand(tmp_path: Path):
    text = (FOLDER / "so101.xml").read_text().replace('name="left_tip"', 'name="pad"')
    (tmp_path / "mine.xml").write_text(text)
    arm = load_arm(written(tmp_path, model="mine.xml", hand={}))
    assert arm.spec().compile().nu == 6


# ---- MuJoCo Menagerie ----


def test_a_model_of_menagerie_is_read_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("mujoco_menagerie", reason="mujoco-menagerie is not installed")
    robot = tmp_path / "menagerie" / "trs_so_arm100"
    robot.mkdir(parents=True)
    (robot / "so_arm100.xml").write_text((FOLDER / "so101.xml").read_text())
    path = written(tmp_path, model="menagerie:trs_so_arm100/so_arm100")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path / "menagerie"))
    assert load_workcell(path).spec().compile().nu == 12
    monkeypatch.delenv("MENAGERIE_ROOT")
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="prefetch trs_so_arm100"):
        load_workcell(path).spec()
    with pytest.raises(InputError, match="trs_so_arm1000"):
        load_workcell(written(tmp_path, model="menagerie:trs_so_arm1000/x")).spec()


def test_without_the_package_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(InputError, match=r"regrasp\[menagerie\]"):
        load_workcell(written(tmp_path, model="menagerie:trs_so_arm100/so_arm100")).spec()
