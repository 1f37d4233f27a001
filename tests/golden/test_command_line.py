"""The command line as people use it: nothing in a file is overlooked, and what cannot be is told in a line."""

from pathlib import Path

import pytest
from runs import step
from test_lint import pipeline

from noria.__main__ import main
from noria.plan.pipelines.files import faults


def test_nothing_that_is_given_is_overlooked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, fine = pipeline(step("b", "x=nowhere.out")), pipeline(step("b"))
    fine["metadata"]["namespace"] = "prod"
    assert len(list(faults([broken, fine]))) == len(list(faults([broken]))) == 1
    assert [each for each in faults([fine, fine]) if "metadata.name: it stands here twice" in each]
    assert list(faults([{"kind": "List", "apiVersion": "v1", "items": [broken]}])) == list(faults([broken]))
    assert list(faults([broken | {"apiVersion": "tekton.dev/v1"}])) == []
    (told,) = faults([broken | {"apiVersion": "noria.dev/v9"}])
    assert told == "Pipeline p: apiVersion: noria.dev/v9 is not known; write noria.dev/v1alpha1"
    (told,) = faults([fine | {"metadata": {"name": "my.pipeline"}}])
    assert told.startswith("Pipeline my.pipeline: runs name it, and it becomes a label")
    assert "metadata" in "".join(faults([fine | {"metadata": "train"}]))


def test_files_are_read_as_kubectl_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dated = tmp_path / "dated.yaml"
    inputs = "[{name: since, value: 2026-01-01, type: string}]"
    dated.write_text(
        f"kind: Pipeline\nmetadata: {{name: p}}\nspec: {{steps: [{{name: a, run: {{image: x}}, inputs: {inputs}}}]}}\n"
    )
    assert main(["lint", str(dated)]) == 0, capsys.readouterr().out
    for number in ("1e-3", "5e2", ".5", "1.", "+1.5e+3", "-1"):
        default = f"parameters: [{{name: a, type: number, default: {number}}}]"
        dated.write_text(
            f"kind: Pipeline\nmetadata: {{name: p}}\nspec: {{{default}, steps: [{{name: a, run: {{image: x}}}}]}}\n"
        )
        assert main(["lint", str(dated)]) == 0, capsys.readouterr().out
    dated.write_bytes(b"a: \xff\n")
    assert main(["lint", str(dated)]) == 2
    run = tmp_path / "run.yaml"
    run.write_text("kind: PipelineRun\nmetadata: {name: r}\nspec: {inline: {steps: [{name: a, run: {image: x}}]}}\n")
    assert main(["graph", str(run)]) == 0 and "s_a" in capsys.readouterr().out
    assert main(["graph", "npl/p"]) == 2
    assert "there is no file npl/p; KIND/NAME is read from the cluster with -n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["replay", "e", "-n", "n", "--prometheus", "http://p", "--step", "0"])
    assert main(["crds", str(tmp_path / "new" / "crds")]) == 0
