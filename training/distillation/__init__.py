"""How a teacher's denoiser becomes a generator of one or a few steps: losses as pure functions, one idea a file.

| file | what it is |
|---|---|
| `denoiser.py` | a network as a prediction along a path, of any kind, with its condition |
| `tsm.py` | teacher score matching: a smaller student learns to say what the teacher says |
| `ode_pairs.py` | the teacher's own ODE, and regression on its ends |
| `dm.py`, `fake_score.py` | distribution matching, and the score of what the student makes |
| `decoupled.py` | distribution matching and the augmentation by guidance, each with noise of its own |
| `adm.py` | the adversarial loss on the fake score's features |
| `alignment.py` | the fake score follows the student after each of its updates |
| `few_steps.py` | what a student makes, in one step or several |
| `collapse.py` | whether it still makes different things |

`training/distill.py` trains by them on the shared loop.
"""
