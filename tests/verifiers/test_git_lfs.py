import pytest
from samplesmith.verifiers.git_lfs import is_pointer, refuse_pointers

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n"


def test_a_pointer_is_told_by_its_first_line(tmp_path):
    for name, text in {"pointer": POINTER, "empty": "", "short": POINTER[:20], "later": f"\n{POINTER}"}.items():
        (tmp_path / name).write_text(text)
        assert is_pointer(tmp_path / name) == (name == "pointer")
    assert not is_pointer(tmp_path)
    assert not is_pointer(tmp_path / "none")


def test_weights_that_are_pointers_are_refused_by_name(tmp_path):
    whole, pointer = tmp_path / "whole.bin", tmp_path / "pointer.bin"
    whole.write_bytes(b"weights")
    pointer.write_text(POINTER)
    refuse_pointers([whole])
    with pytest.raises(ValueError, match=r"pointer\.bin is a git-lfs pointer, not the weights: run git lfs pull"):
        refuse_pointers([whole, pointer])
