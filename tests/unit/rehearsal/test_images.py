"""Which image stands for a reference."""

from __future__ import annotations

from deploy.rehearsal.images import Images, program


def test_images_given_later_stand_before_the_usual_ones() -> None:
    """Also for a pattern that is among the usual ones already."""
    usual, other = program("/usual"), program("/other")
    images = Images({"collector:*": usual, "rest:*": usual}) | {"collector:*": other}

    assert [other, usual] == [images.find("collector:1"), images.find("rest:1")]
