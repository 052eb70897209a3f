"""Which labeling configs can be learned, and what people are told about the others."""

import pytest

from ml_backend.errors import ConfigurationError, UnsupportedLabelingConfig
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.records import ChoiceControl


def config(choices: str, image: str = '<Image name="image" value="$photo"/>') -> str:
    return f"<View>{image}{choices}</View>"


KIND = '<Choices name="kind" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices>'


def test_single_choice_on_an_image_is_read():
    assert parse_control(config(KIND)) == ChoiceControl("kind", "image", "photo", ("cat", "dog"))


@pytest.mark.parametrize("mode", ["single", "single-radio"])
def test_both_ways_of_a_single_answer_are_read(mode):
    tagged = KIND.replace("toName", f'choice="{mode}" toName')

    assert parse_control(config(tagged)).classes == ("cat", "dog")


def test_a_class_is_the_alias_where_there_is_one():
    tagged = KIND.replace('value="dog"', 'value="A good dog" alias="dog"')

    assert parse_control(config(tagged)).classes == ("cat", "dog")


def test_other_tags_around_it_do_not_matter():
    around = (
        '<Header value="What is it?"/><Style>.x { color: red }</Style>'
        f'<View style="a">{KIND}</View><TextArea name="comment" toName="image"/><!-- note -->'
    )

    assert parse_control(config(around)).from_name == "kind"


def test_the_named_one_of_several_is_read():
    both = KIND + KIND.replace('"kind"', '"mood"')

    assert parse_control(config(both), "mood").from_name == "mood"


def test_several_without_a_name_are_listed():
    both = KIND + KIND.replace('"kind"', '"mood"')

    with pytest.raises(ConfigurationError, match="kind, mood"):
        parse_control(config(both))


def test_the_only_usable_one_of_several_is_read():
    many = KIND.replace('"kind"', '"tags" choice="multiple"')

    assert parse_control(config(many + KIND)).from_name == "kind"


def test_an_unknown_name_is_answered_with_the_names_that_exist():
    with pytest.raises(ConfigurationError, match=r"'mood'.*it has: kind"):
        parse_control(config(KIND), "mood")


@pytest.mark.parametrize(
    ("tagged", "said"),
    [
        (KIND.replace("toName", 'choice="multiple" toName'), 'choice="multiple"'),
        (KIND.replace("toName", 'perRegion="true" toName'), 'perRegion="true"'),
        (KIND.replace("toName", 'perItem="true" toName'), 'perItem="true"'),
        ('<Choices name="kind" toName="image" value="$options"/>', r"value=\"\$options\""),
        (KIND.replace('toName="image"', 'toName="text"'), 'toName="text"'),
        (KIND.replace("</Choices>", "</Choices>").replace('value="dog"', 'value="cat"'), "'cat'"),
        (KIND.replace('value="dog"', 'value=" "'), "without a value"),
        ('<Choices name="kind" toName="image"></Choices>', "no <Choice>"),
        (
            '<Choices name="kind" toName="image"><Choice value="a"><Choice value="b"/></Choice>'
            "</Choices>",
            "choices inside choices",
        ),
    ],
)
def test_what_cannot_be_learned_is_named_with_what_can(tagged, said):
    with pytest.raises(UnsupportedLabelingConfig, match=said) as raised:
        parse_control(config(tagged))
    assert '<Choices name="kind">' in str(raised.value)
    assert 'supported is <Choices choice="single"> on one <Image' in str(raised.value)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ('<Image name="image" valueList="$photos"/>', "valueList"),
        ('<Image name="image" value="http://x/$id.png"/>', "not one field"),
        ('<Text name="image" value="$text"/>', "not on an <Image>"),
    ],
)
def test_what_the_choice_is_about_must_be_one_image(image, said):
    with pytest.raises(UnsupportedLabelingConfig, match=said):
        parse_control(config(KIND, image))


def test_other_kinds_of_labeling_are_named():
    boxes = '<RectangleLabels name="boxes" toName="image"><Label value="cat"/></RectangleLabels>'

    with pytest.raises(UnsupportedLabelingConfig, match="<RectangleLabels>"):
        parse_control(config(boxes))


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "no xml",
        "<View>",
        '<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>',
        '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
        "<View>" + "x" * 1_000_001 + "</View>",
        "<View>\0</View>",
    ],
    ids=["empty", "text", "open", "bomb", "file", "huge", "nul"],
)
def test_hostile_xml_is_refused_in_words(hostile):
    with pytest.raises(ConfigurationError, match="labeling config"):
        parse_control(hostile)


def test_a_changed_config_has_another_hash():
    assert hash_of(config(KIND)) == hash_of(config(KIND))
    assert hash_of(config(KIND)) != hash_of(config(KIND) + " ")
