from __future__ import annotations

from rerankd.settings import TOPICS, Settings


def test_every_setting_belongs_to_one_topic() -> None:
    names = [name for topic in TOPICS for name in topic.model_fields]
    assert len(names) == len(set(names))
    assert list(Settings.model_fields) == names


def test_topics_and_settings_are_described() -> None:
    for topic in TOPICS:
        assert topic.__doc__
        for name, field in topic.model_fields.items():
            assert field.description, name
