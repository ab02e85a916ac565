"""The commands by hand: no template makes them, no training reads them, and each means what it says it means."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from segzero_ros.errors import RejectedInput
from segzero_ros.tabletop.language import composed_wordings, wordings
from segzero_ros.tabletop.samples import EVALUATION_SEEDS
from segzero_ros.tabletop.sampling import sample_scene
from segzero_ros.tabletop.things import COLOURS, HELD_OUT, KINDS
from training.demo_models import paraphrase
from training.evaluation import spoken as evaluation_spoken
from training.evaluation.spoken import SpokenExamples, read_spoken

ROOT = Path(__file__).parents[3]
SPOKEN = read_spoken()


def either(options):
    return "(?:" + "|".join(sorted(options, key=len, reverse=True)) + ")"


def filled(template, **parts):
    """The template as a pattern, its first unnamed blanks filled with the positional part."""
    pattern = re.escape(template).replace(r"\{\}", "{}").replace(r"\{s\}", "{s}").replace(r"\{n\}", "{n}")
    return pattern.format(*[parts["noun"]] * pattern.count("{}"), s=parts["plural"], n=parts.get("number", ""))


def filled_in(template, noun, plural):
    """A composed template as a pattern."""
    pattern = re.escape(template)
    blanks = {"{}": noun, "{s}": plural, "{c}": either(COLOURS), "{n}": "(?:second|third)"}
    for blank, filling in blanks.items():
        pattern = pattern.replace(re.escape(blank), filling)
    return pattern


def words_of(*tables):
    return [word for table in tables for word in (*table.seen, *table.unseen)]


def every_phrase():
    """One pattern for every way the demo world and the trainings name things; too wide rather than too narrow."""
    colour = either(COLOURS)
    kinds = [*words_of(*wordings.KIND_WORDS.values(), wordings.ANYTHING), *chain(*paraphrase.NOUNS.values())]
    pots = [re.escape(pot).replace(r"\{\}", colour) for pot in words_of(wordings.COLOURED_PLANT)]
    single = either([rf"(?:{colour} )?{either(kinds)}", *pots])
    plural = either([rf"(?:{colour} )?{either(map(wordings.plural, kinds))}", rf"{colour} pot plants"])
    before = rf"(?:{either(['the', *filter(None, paraphrase.DETERMINERS)])} )?(?:{either(paraphrase.ADJECTIVES)} )?"
    parts = {"noun": before + single, "plural": plural, "number": either(wordings.NUMBERS.values())}
    tables = (wordings.EXTREMES, wordings.SIDES, wordings.SIZES, wordings.SIZES_OF_TWO)
    templates = [template for table in tables for template in words_of(*table.values())]
    templates += words_of(wordings.NEAREST, wordings.EVERY, wordings.COUNTED)
    more = (paraphrase.SIDES, paraphrase.EXTREMES, paraphrase.SIZES)
    templates += [template for table in more for template in chain(*table.values())]
    templates += [*paraphrase.NEAREST, *paraphrase.EVERY]
    others = (composed_wordings.WITHOUT, composed_wordings.JOINED_WITHOUT)
    single = either([parts["noun"], *(filled_in(other, parts["noun"], "") for other in words_of(*others))])
    counted = [filled_in(template, single, "") for template in words_of(*composed_wordings.NTH.values())]
    many = [filled_in(t, single, plural) for t in words_of(composed_wordings.EVERY_WITHOUT, composed_wordings.BETWEEN)]
    parts["noun"] = single
    phrases = [*counted, *many, single, *(filled(template, **parts) for template in templates)]
    return re.compile(before + either(phrases))


PHRASE = every_phrase()
CLAUSES = words_of(composed_wordings.CLAUSES, composed_wordings.CLAUSES_PLURAL)
FRAMES = ["{}", *words_of(wordings.FRAMES, wordings.FRAMES_PLURAL), *paraphrase.CARRIERS, *CLAUSES]
USES = {*words_of(*wordings.USE_WORDINGS.values()), *chain(*paraphrase.USES.values())}
USED = re.compile(
    either(filled_in(text, either(map(re.escape, USES)), "") for text in words_of(composed_wordings.USED))
)


def is_template(text):
    """Whether the demo world or a training could say this."""
    pairs = [frame.split("{}") for frame in FRAMES]
    fitting = [(start, end) for start, end in pairs if text.startswith(start) and text.endswith(end)]
    inside = [text[len(start) : len(text) - len(end)] for start, end in fitting]
    return text in USES or bool(USED.fullmatch(text)) or any(PHRASE.fullmatch(phrase) for phrase in inside)


@pytest.mark.parametrize("grammar", ["plain", "mixed"])
def test_what_the_demo_world_says_fits_the_patterns(grammar):
    """Or the next test would prove nothing."""
    pytest.importorskip("mujoco", reason="needs the demo world")
    from segzero_ros.tabletop import Renderer
    from segzero_ros.tabletop.language.instructions import instructions

    with Renderer(320, 240) as renderer:
        views = [(seed, renderer.render(sample_scene(seed, "test", grammar=grammar))) for seed in range(20)]
    made = [asked.text for seed, view in views for asked in instructions(view, seed, "test", grammar=grammar)]
    assert len(made) > 130
    assert not [text for text in made if not is_template(text)]


@pytest.mark.parametrize("spoken", SPOKEN, ids=lambda spoken: str(spoken.seed))
def test_no_template_makes_the_sentence(spoken):
    plain = spoken.text.lower().strip(".?! ")
    assert not is_template(plain)
    assert not is_template(plain + "?")


def test_the_mix_is_about_the_natural_one():
    assert Counter(spoken.kind for spoken in SPOKEN) == {
        "attribute": 30,
        "spatial": 20,
        "comparison": 10,
        "function": 20,
        "several": 12,
        "absent": 8,
    }


def test_a_sentence_is_about_one_thing_several_or_none_as_its_kind_says():
    counts = {"several": range(2, 5), "absent": [0]}
    assert not [s for s in SPOKEN if len(s.targets) not in counts.get(s.kind, [1])]
    assert len({s.text for s in SPOKEN}) == len({s.seed for s in SPOKEN}) == 100


def test_scenes_are_far_from_those_of_the_shards_and_of_usual_evaluations():
    assert all(s.seed >= EVALUATION_SEEDS + 99 * 100_000 for s in SPOKEN)


def test_no_training_reads_the_sentences():
    """Only the evaluation knows the file; nothing that trains imports it."""
    knowing = [
        str(file.relative_to(ROOT))
        for folder in ("training", "segzero_ros", "export", "tools")
        for file in (ROOT / folder).glob("**/*.py")
        if re.search(r"spoken\.jsonl|evaluation\.spoken", file.read_text(encoding="utf-8"))
    ]
    assert sorted(knowing) == [f"training/evaluation/{name}.py" for name in ("main", "sealed", "spoken")]


def test_all_that_is_meant_can_be_seen():
    """Of every fifth sentence; a picture costs some seventy milliseconds."""
    pytest.importorskip("mujoco", reason="needs the demo world")
    examples = SpokenExamples()
    for example in (examples[n] for n in range(0, len(examples), 5)):
        assert len(example.boxes) == len(example.object_masks)
        for (x0, y0, x1, y1), mask in zip(example.boxes, example.object_masks, strict=True):
            assert min(x1 - x0, y1 - y0) >= 640 * 9 / 168
            assert mask.sum() > 1000
        assert np.array_equal(example.mask, np.any([np.zeros_like(example.mask), *example.object_masks], axis=0))
        assert example.unseen_wording


LANDMARK = "the blue bottle over by the blue cup, please"  # names a thing that is not meant, too


def things_meant(spoken):
    things = {thing.id: thing for thing in sample_scene(spoken.seed, "test").things}
    return [things[target] for target in spoken.targets]


def test_colours_and_kinds_that_are_named_are_those_of_what_is_meant():
    for spoken in SPOKEN:
        named = set(re.findall(r"[a-z]+", spoken.text.lower())) - {"can"}  # mostly the verb
        for thing in things_meant(spoken):
            assert named & set(COLOURS) <= {thing.colour}, spoken
            assert named & set(KINDS) <= {thing.kind} or spoken.text == LANDMARK, spoken


def test_nearly_all_compositions_were_seen_in_training():
    unseen = [s for s in SPOKEN if any((thing.colour, thing.kind) in HELD_OUT for thing in things_meant(s))]
    assert len(unseen) == 2


def test_a_target_that_is_not_in_the_picture_is_refused(monkeypatch):
    pytest.importorskip("mujoco", reason="needs the demo world")
    wrong = [evaluation_spoken.Spoken(SPOKEN[0].seed, "attribute", "the mug", (99,))]
    monkeypatch.setattr(evaluation_spoken, "read_spoken", lambda _: wrong)
    with pytest.raises(RejectedInput, match="want ids of"):
        SpokenExamples()[0]
