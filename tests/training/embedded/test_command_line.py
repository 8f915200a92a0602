import pytest
from samplesmith.training.checkpoints import WrongRunError
from samplesmith.training.embedded.command_line import recipe_parser, run_recipe
from samplesmith.training.loop import NonFiniteError


def test_every_recipe_has_these_options(tmp_path):
    arguments = recipe_parser("What it trains.", images=500).parse_args(
        ["--output", str(tmp_path), "--autoencoder", "vae", "--seed", "3"]
    )
    assert (arguments.images, arguments.seed, arguments.threads, str(arguments.autoencoder)) == (500, 3, 2, "vae")
    with pytest.raises(SystemExit):
        recipe_parser("What it trains.", images=500).parse_args(["--output", str(tmp_path)])
    recipe_parser("What it trains.", images=500, needs_autoencoder=False).parse_args(["--output", str(tmp_path)])


@pytest.mark.parametrize("error", [WrongRunError("seed was 0, now 1"), NonFiniteError("the loss of step 3 is nan")])
def test_a_refused_run_says_why_in_one_sentence(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_recipe(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_fault_of_ours_keeps_its_traceback():
    def main():
        raise KeyError("weights")

    with pytest.raises(KeyError):
        run_recipe(main)
