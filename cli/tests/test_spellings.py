"""Fastpy's spellings: each as its users wrote it, and the words of this command that it stands for."""

import shlex

import pytest
from kpi_cli import make_commands, spellings
from kpi_cli.generate.specs import Kind
from kpi_cli.spellings import understand
from typer.testing import CliRunner

SPELLINGS = {
    # A colon is a blank, for each group of commands, and in the name of the command only.
    "make:resource Post -s content": "make resource Post -s content",
    "db:seed --seeder Post --count 50": "db seed --seeder Post --count 50",
    "db:migrate": "db migrate",
    "keys:list": "keys list",
    "make:resource Post -f body:text": "make resource Post -f body:text",
    "run content --host ::1": "run content --host ::1",
    "user create a:b": "user create a:b",
    "--version": "--version",
    ":": ":",
    "make:": "make:",
    "ai:config -p openai": "ai:config -p openai",
    # Other words.
    "route:list": "routes",
    "route list --json": "routes --json",
    "make:controller Post -s content --public": "make endpoint Post -s content --public",
    "make:route Post --protected": "make endpoint Post --protected",
    "make route Post": "make endpoint Post",
    "make:exception PaymentFailed -s 402": "make error PaymentFailed --status 402",
    "make:exception PaymentFailed -s content": "make error PaymentFailed -s content",
    "make:admin anna": "user create --role admin anna",
    "db:make -m 'add bios'": "db revision -m 'add bios'",
    "service:logs --follow": "logs --follow",
    # Fastpy's make:service is the module of rules; with a blank it is a whole service.
    "make:service Post -s content": "make service-layer Post -s content",
    "make service billing": "make service billing",
    # -m and -b are always so, -p is ours as well.
    "make:resource Post -f title:string -m -p": "make resource Post -f title:string -p",
    "make resource Post -mp --binding": "make resource Post -p",
    "make:model Post --migration": "make model Post",
    "make:route Post -p -b": "make endpoint Post -p",
    "make migration -m 'add bios' -s content": "make migration -m 'add bios' -s content",
    # Fields, one or several in an argument.
    "make:model Post -f title:string:required,max:200": "make model Post -f title:string:required,max:200",
    "make:model Post -f 'title:string:required; body:text'": "make model Post -f title:string:required -f body:text",
    "make:model Post -f 'title:string:max:9 body:text;'": "make model Post -f title:string:max:9 -f body:text",
    "make:model Post --field='a:text;b:text'": "make model Post -f a:text -f b:text",
    "make:model Post '-fa:text b:text'": "make model Post -f a:text -f b:text",
    "make:model Post -f 'state:enum(a|b);n:integer'": "make model Post -f state:enum(a|b) -f n:integer",
    # A default has blanks and semicolons of its own.
    "make:model Post -f 'title:string:default:be; or not'": "make model Post -f 'title:string:default:be; or not'",
    "make:model Post -f": "make model Post -f",
    "logs -f 'a:text;b:text'": "logs -f 'a:text;b:text'",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_stands_for_the_words_of_this_command(spelling: str) -> None:
    assert understand(shlex.split(spelling)).arguments == shlex.split(SPELLINGS[spelling])


def test_no_argument_stays_none() -> None:
    assert understand([]).arguments == []


def test_the_words_of_this_command_are_left_alone() -> None:
    for line in SPELLINGS.values():
        assert understand(shlex.split(line)) == (shlex.split(line), ())


def test_it_says_how_make_service_is_understood() -> None:
    assert "service-layer" in understand(["make:service", "Post"]).notes[0]
    assert understand(["make", "service", "billing"]).notes == ()


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("make resource Box a:string:required", "fields are options: -f a:string:required"),
        ("make:model Box -f a:text 'b:enum(x|y)'", "fields are options: -f 'b:enum(x|y)'"),
        ("make resource Box -f a:text --belongs-to=posts", None),
        ("make resource Box -f 'a:text; b:text'", None),
        ("make migration a:text", None),
    ],
)
def test_a_field_that_stands_alone_is_an_option(line: str, note: str | None) -> None:
    assert understand(shlex.split(line)).notes == ((note,) if note else ())


def test_a_misspelt_command_of_fastpys_is_known_too() -> None:
    assert spellings.suggest("make", "rout") == " Did you mean make:route, which is make endpoint here?"
    assert spellings.suggest("make", "xyz") == ""
    assert "make:route" in CliRunner().invoke(make_commands.app, ["rout", "Box"]).output
    assert "'resource'" in CliRunner().invoke(make_commands.app, ["resourc", "Box"]).output


def test_every_type_of_field_begins_one() -> None:
    assert spellings._KINDS.split("|") == [str(kind) for kind in Kind]
