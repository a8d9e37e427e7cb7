from __future__ import annotations

import pytest

from rerankd.errors import UnsupportedModelError
from rerankd.models.chat_template import ChatTemplate, prompt_of
from rerankd.models.template import PromptTemplate
from tests.families.causal import ROLES

PLAIN = "{{ messages[0].content }} | {{ messages[1].content }} ?"


def prompt(source: str, **options: object) -> PromptTemplate:
    made = prompt_of(ChatTemplate(source, **options), "some/model")  # type: ignore[arg-type]
    assert made is not None
    return made


def test_the_texts_around_query_and_document() -> None:
    made = prompt(ROLES)
    assert made.plain == (
        "<|im_start|>system\nIs it relevant?<|im_end|>\n<|im_start|>user\nQuery: ",
        "\nDocument: ",
        "\nRelevant:<|im_end|>\n",
    )
    assert made.before == ("<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\nQuery: ")
    assert made.takes_instruction
    assert made.texts("Find it.")[0].startswith("<|im_start|>system\nFind it.<|im_end|>")


def test_variables_are_those_of_the_folder() -> None:
    assert prompt(ROLES, variables={"add_generation_prompt": True}).after[0].endswith("<|im_start|>assistant\n")
    assert prompt(PLAIN + "{{ eos_token }}", variables={"eos_token": "<|end|>"}).after == (" ?<|end|>",)


def test_the_default_prompt_is_the_instruction() -> None:
    made = prompt(ROLES, instruction="Find it.")
    assert made.plain is None
    assert "Find it." in made.texts(None)[0]
    assert "Other." in made.texts("Other.")[0]


def test_a_template_without_a_system_message_takes_no_instruction() -> None:
    source = "{% for m in messages if m.role in ('query', 'document') %}[{{ m.content }}]{% endfor %}"
    made = prompt(source)
    assert (made.before, made.between, made.after) == (("[",), ("][",), ("]",))
    assert not made.takes_instruction


def test_content_in_parts() -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content[0].text }}\n{% endfor %}"
    assert prompt(source).plain == ("query: ", "\ndocument: ", "\n")


def test_trimmed_texts() -> None:
    made = prompt("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}")
    assert made.strip
    assert made.plain == ("<", "><", ">")


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",  # as most chat templates
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0].content",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{% include 'other' %}",
        "{{ strftime_now('%d') }}{{ messages }}",
        "x" * 300_000,
    ],
)
def test_templates_that_are_not_for_pairs(source: str) -> None:
    assert prompt_of(ChatTemplate(source), "some/model") is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ messages[0].content }}" + PLAIN, "more than once"),
        ("{{ messages[1].content }}{{ messages[0].content }}", "the document before the query"),
        ("{{ messages[0].content | trim }}{{ messages[1].content }}", "removes the spaces around one"),
    ],
)
def test_templates_that_are_not_supported(source: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        prompt_of(ChatTemplate(source), "some/model")
