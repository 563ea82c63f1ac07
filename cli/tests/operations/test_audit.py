"""``kpi audit verify``, with a stand-in for the auth service."""

import json

from cli_harness import Checkout


def test_a_whole_chain_is_one_sentence_and_exit_code_0(checkout: Checkout) -> None:
    result = checkout.kpi("audit", "verify")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        "kpi: audit: 1,200 records are as they were written, 10 deleted by age",
        "head: 1210:01ab",
    ]
    request = json.loads((checkout.orders / "request.json").read_text())
    assert (request["head"], request["tolerance"]) == (None, 900)
    assert checkout.processes() == []


def test_a_broken_chain_is_exit_code_3_and_names_the_record(checkout: Checkout) -> None:
    checkout.order("forged-audit")
    result = checkout.kpi("audit", "verify", "--head", "1:01ab", "--tolerance", "60")
    assert result.returncode == 3
    assert "kpi: audit: a record was changed at place 500: the record 501 was changed" in result.stderr
    request = json.loads((checkout.orders / "request.json").read_text())
    assert (request["head"], request["tolerance"]) == ("1:01ab", 60)


def test_json_is_one_object_for_both(checkout: Checkout) -> None:
    whole = checkout.kpi("audit", "verify", "--json")
    assert json.loads(whole.stdout)["problem"] is None
    checkout.order("forged-audit")
    broken = checkout.kpi("audit", "verify", "--json")
    assert (broken.returncode, json.loads(broken.stdout)["problem"]["seq"]) == (3, 500)


def test_what_cannot_be_found_out_is_exit_code_1(checkout: Checkout) -> None:
    away = checkout.kpi("audit", "verify", DATABASE_URL="postgresql://a:password@127.0.0.1:1/none", PYTHONPATH="")
    assert away.returncode not in (0, 3)
    assert "kpi: auth:" in away.stderr
