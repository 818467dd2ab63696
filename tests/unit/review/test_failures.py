"""Whatever is wrong, a preview and a deployment leave a report that shows it, without a secret in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbstack.cli import main
from lbstack.engine.errors import EngineFailed
from lbstack.problems import LbstackError
from lbstack.review.failures import failure_of, report_of
from lbstack.review.report import Outcome

HASH = "$6$somesalt$" + "y" * 86
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
KEYS = (
    f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n",
    f"-----BEGIN RSA PRIVATE KEY-----\\n{BODY}\\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{BODY}",
)


@pytest.mark.parametrize("command", ["preview", "up"])
@pytest.mark.parametrize("what", ["no stack file", "no engine"])
def test_what_fails_before_the_engine_began_is_a_report_in_the_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PULUMI_OPTION_CONFIG_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: trial\nruntime: python\n")
    if what == "no engine":
        (tmp_path / "Pulumi.trial.yaml").write_text("config: {}\n")
    target = tmp_path / "report.md"
    target.write_text("an older report")
    assert main([command, "trial", "--json", "--markdown", str(target)]) == 2
    found = json.loads(capsys.readouterr().out)
    output = {"no stack file": "There is no stack", "no engine": "There is no `pulumi` on PATH"}[what]
    head = {"preview": "Unknown: ", "up": "Failed, and nothing was changed: "}[command]
    assert found["verdict"].startswith(head + output)
    assert found["outcome"] == {"preview": "unknown", "up": "failed"}[command]
    assert found["failure"]["message"].startswith(output)
    assert output.replace("`", "") in target.read_text().replace("`", "")
    assert "an older report" not in target.read_text()
    assert main([command, "trial"]) == 2
    assert output in capsys.readouterr().err


@pytest.mark.parametrize("secret", [HASH, *KEYS])
def test_a_message_that_quotes_a_secret_is_shown_without_it(secret: str) -> None:
    for error in (EngineFailed("engine", f"line\nvalue {secret}", f"repair {secret}"), LbstackError(f"x {secret}")):
        failure = failure_of(error)
        assert "<redacted>" in failure.message
        for text in (failure.message, failure.remedy, json.dumps(report_of("lab", error).as_data())):
            assert not any(part in text for part in (HASH, BODY))


def test_a_refused_deployment_shows_that_nothing_was_changed() -> None:
    report = report_of("lab", LbstackError("There is no such thing."), applied=True)
    assert (report.outcome, report.applied) == (Outcome.FAILED, True)
    assert report.verdict == "Failed, and nothing was changed: There is no such thing."
