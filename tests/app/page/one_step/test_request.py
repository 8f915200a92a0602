"""What may be asked of a student and its teacher."""

import pytest
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.one_step.request import MOST_STEPS, OneStepRequest


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        (None, (1, 2, 3)),
        (" ", (1, 2, 3)),
        ("4,1, 1", (1, 4)),
        ("2 8", (2, 8)),
        (5, (5,)),
    ],
)
def test_steps_are_a_text_of_numbers_or_few_and_the_student_s_own(studio, asked, written, steps):
    request = OneStepRequest.of(studio.models, Limits(), **asked | {"steps": written})
    assert request.steps == steps
    teacher, *students = request.settings
    assert (teacher.model, teacher.says) == ("toy-teacher", "toy-teacher, 4 steps with guidance")
    assert [one.arguments["num_inference_steps"] for one in students] == list(steps)
    assert all("guidance" not in one.says for one in students)
    assert request.best_of(9).call_arguments == students[-1].arguments
    assert request.best_of(9).judge is None, "what measures takes none of the search's time"


def test_the_lines_name_every_row_and_the_search(studio, asked):
    request = OneStepRequest.of(studio.models, Limits(), **asked | {"steps": "1"})
    teacher, student, search = request.command(7).splitlines()
    assert teacher == (
        "samplesmith sample 'a star on blue' --num-images 2 --seed 3 --model toy-teacher --output outputs/teacher"
    )
    assert "--model toy-student --steps 1 --output outputs/student_1" in student
    assert search == request.best_of(7).command()
    program = request.python(7, ["emoji-clip"])
    assert program.index("load('toy-teacher')") < program.index("'teacher'") < program.index("load('toy-student')")
    assert program.count("samplesmith.load(") == 2
    assert "num_candidates=7" in program
    assert "...  # your emoji-clip" in program


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "toy-teacher"}, "no student 'toy-teacher' on this page; it has toy-student"),
        ({"model": "/etc"}, "no student '/etc' on this page"),
        ({"steps": "few"}, "the student's steps are 'few'; give whole numbers"),
        ({"steps": "1.5"}, "the student's steps are '1.5'"),
        ({"steps": -1}, "the student's steps are '-1'"),
        ({"steps": float("nan")}, "the student's steps are 'nan'"),
        ({"steps": "0, 2"}, f"the number of steps is 0; give a number from 1 to {MOST_STEPS}"),
        ({"steps": "1 2 3 4 5"}, "there are 5 numbers of steps; give at most 4"),
        ({"images": 9}, "the number of images is 9"),
        ({"seed": -1}, "the seed is -1"),
        ({"judge": "emoji-clip"}, "emoji-clip is verifier and judge"),
        ({"verifier": "luck"}, "no verifier 'luck' on this page"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "a dragon on blue"}, "unknown word 'dragon'"),
    ],
)
def test_what_may_not_be_asked_is_one_sentence(studio, asked, changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        OneStepRequest.of(studio.models, Limits(), **asked | changes).check()
    assert message in str(error.value)


def test_no_judge_is_none(studio, asked):
    assert OneStepRequest.of(studio.models, Limits(), **asked | {"judge": "none"}).check().judge is None
