"""Which properties of a VM are left alone, by what stands on it in vCenter."""

from __future__ import annotations

import pytest

from lbstack.config.models import Node, Tags
from lbstack.deploy.foreign import foreign
from lbstack.facts.names import MADE_BY_US, PROVIDER_NOISE
from lbstack.vcenter.marks import Marks, Tag

MARKER = "the marker of this stack"
NODE = Node.model_validate({"name": "lb1", "address": "10.0.0.1"})
TAGS = Tags.model_validate({"category": "stack", "names": ["lb"]})
OWN = Tag("id-own", "lb", "stack")
THEIRS = Tag("id-theirs", "gold", "backup")
GUESTINFO = {"guestinfo.userdata": "set"}


def stands(annotation: str = MARKER, *tags: Tag, extra: str = "set", cpus: int = 2) -> Marks:
    return Marks(annotation, cpus, 2048, {"guestinfo.userdata": extra, "guestinfo.vmtools": "theirs"}, tags)


def minded(marks: Marks | None, tags: Tags | None = TAGS) -> set[str]:
    """The properties that the engine looks at although others may have changed them."""
    found = foreign(NODE, marks, MARKER, tags, GUESTINFO)
    everything = {"annotation", "tags", "customAttributes", "datastoreId", *PROVIDER_NOISE}
    assert {"customAttributes", "datastoreId", *PROVIDER_NOISE} <= set(found.ignored) <= everything
    return everything - set(found.ignored)


def test_where_nobody_could_look_everything_is_left_alone() -> None:
    assert minded(None) == set()


@pytest.mark.parametrize("annotation", [MARKER, MARKER + "\nBackup: nightly", "CMDB 17 " + MARKER])
def test_notes_with_the_marker_are_left_alone(annotation: str) -> None:
    assert minded(stands(annotation, OWN, THEIRS)) == set()


@pytest.mark.parametrize("annotation", ["", "mine now", "the marker of"])
def test_notes_without_the_marker_are_written_again(annotation: str) -> None:
    assert minded(stands(annotation, OWN)) == {"annotation"}
    assert foreign(NODE, stands(annotation, OWN), MARKER, TAGS, GUESTINFO).annotation == MARKER


@pytest.mark.parametrize("marks", [stands(MARKER + "!", OWN, extra="old"), stands(MARKER + "!", OWN, cpus=4)])
def test_a_vm_that_changes_keeps_the_notes_that_it_has_now(marks: Marks) -> None:
    found = foreign(NODE, marks, MARKER, TAGS, GUESTINFO)
    assert "annotation" not in found.ignored
    assert found.annotation == MARKER + "!"


def test_tags_of_other_categories_are_left_alone_and_kept_when_the_own_ones_change() -> None:
    assert minded(stands(MARKER, OWN, THEIRS)) == set()
    assert minded(stands(MARKER, THEIRS)) == {"tags"}
    assert foreign(NODE, stands(MARKER, THEIRS), MARKER, TAGS, GUESTINFO).kept == ("id-theirs",)


def test_another_tag_of_the_stacks_own_category_is_taken_off() -> None:
    marks = stands(MARKER, OWN, Tag("id-other", "other", "stack"), THEIRS)
    assert foreign(NODE, marks, MARKER, TAGS, GUESTINFO).kept == ("id-theirs",)


def test_without_tags_in_the_stack_file_no_tag_is_touched_but_those_that_a_stack_made() -> None:
    assert minded(stands(MARKER, OWN, THEIRS), None) == set()
    for descriptions in ((MADE_BY_US, ""), ("", MADE_BY_US)):
        ours = Tag("id-ours", "lb", "stack", descriptions)
        assert foreign(NODE, stands(MARKER, ours, THEIRS), MARKER, None, GUESTINFO).kept == ("id-theirs",)
