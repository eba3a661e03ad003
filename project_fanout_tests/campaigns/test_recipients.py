from pathlib import Path

import duckdb
import pytest

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.recipients import (
    Recipient,
    _reason,
    build_list,
    read_duplicates,
    read_rows,
    read_single_rows,
)
from project_fanout.campaigns.rows import RowRange

CSV = (
    'email,name,postcode\nada@post.example,"Ada, ""A""",01234\n,Bob,\n ADA@post.example,"Two\nlines",9\n,,\n'
)


def test_rows_split_without_gap_or_overlap() -> None:
    """A list of 2,345 has three pages, and the pages have every row once."""
    pages = list(RowRange(1, 2345).split(1000))

    assert [page.key for page in pages] == ["1-1000", "1001-2000", "2001-2345"]
    assert [row for page in pages for row in page] == list(range(1, 2346))
    assert [RowRange.of_key(page.key) for page in pages] == pages
    assert list(RowRange(1, 0).split(10)) == []


def test_a_csv_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Columns are text with their leading zeros, empty cells are missing, and duplicates know their first row."""
    (tmp_path / "list.csv").write_text(CSV)

    found = build_list(tmp_path / "lists", str(tmp_path / "list.csv"))

    assert found.rows == 4
    assert read_rows(found.path, found.all) == [
        Recipient(1, "ada@post.example", None, {"name": 'Ada, "A"', "postcode": "01234"}),
        Recipient(2, None, None, {"name": "Bob"}),
        Recipient(3, " ADA@post.example", 1, {"name": "Two\nlines", "postcode": "9"}),
        Recipient(4, None, None, {}),
    ]


def test_a_csv_file_is_read_to_its_end_as_it_begins(tmp_path: Path) -> None:
    """Quotes, a comma and a line break in a late row are read as in the first, whatever the rows before look like."""
    plain = "".join(f"a{row}@post.example,A{row}\n" for row in range(21_000))
    late = '"y@post.example","Bob"\nz@post.example,"Berg, Ada"\n#1@post.example,"Two\nlines"\n'
    (tmp_path / "list.csv").write_text(f"email,name\n{plain}{late}", encoding="utf-8-sig")

    found = build_list(tmp_path, str(tmp_path / "list.csv"))

    assert [(each.email, each.fields) for each in read_rows(found.path, RowRange(21_000, 21_003))] == [
        ("a20999@post.example", {"name": "A20999"}),
        ("y@post.example", {"name": "Bob"}),
        ("z@post.example", {"name": "Berg, Ada"}),
        ("#1@post.example", {"name": "Two\nlines"}),
    ]
    assert found.rows == 21_003


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_first_line_tells_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    """A list as other programs save it is read, and its columns may have any names."""
    header, row = ('email;"first, name";a\'b;', "a@post.example;Ada, A;x;y")
    (tmp_path / "list.csv").write_text(f"{header}\r\n{row}\r\n".replace(";", delimiter), newline="")

    found = build_list(tmp_path, str(tmp_path / "list.csv"))

    assert read_rows(found.path, found.all)[0].fields == {
        "first, name": "Ada, A",
        "a'b": "x",
        "column4": "y",
    }


def test_one_domain_in_several_spellings_is_one_address(tmp_path: Path) -> None:
    """A domain in Unicode, in ASCII and in capitals is the same; the first row has it."""
    (tmp_path / "list.csv").write_text("email\nada@bücher.example\nADA@XN--BCHER-KVA.EXAMPLE\n")

    found = build_list(tmp_path, str(tmp_path / "list.csv"))

    assert [each.duplicate_of for each in read_rows(found.path, found.all)] == [None, 1]
    assert [each.row for each in read_single_rows(found.path, {2, 1})] == [1, 2]
    assert [each.row for each in read_duplicates(found.path, {1}, 2)] == [2]
    assert read_duplicates(found.path, {1}, 1) == []


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    """A list whose file has been damaged says so, and what to do, instead of an error of the database."""
    found = build_list(tmp_path, generated=10)
    Path(found.path).write_bytes(b"x" * 5000)

    with pytest.raises(CampaignError, match=r"made of generated, cannot be read: .* Remove it"):
        build_list(tmp_path, generated=10)
    with pytest.raises(CampaignError, match="Materialise `recipients` again"):
        read_rows(found.path, found.all)


def test_a_list_stays_as_it_was(tmp_path: Path) -> None:
    """Changing the source makes another list; the one that a campaign has begun with is still there."""
    source = tmp_path / "list.csv"
    source.write_text(CSV)
    first = build_list(tmp_path / "lists", str(source))
    source.write_text("email\nonly@post.example\n")
    second = build_list(tmp_path / "lists", str(source))

    assert (first.rows, second.rows) == (4, 1)
    assert read_rows(first.path, RowRange(1, 1))[0].email == "ada@post.example"
    assert sorted(path.suffix for path in (tmp_path / "lists").iterdir()) == [".duckdb", ".duckdb"]


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    """Columns of any type are template variables."""
    path = tmp_path / "it's.parquet"
    with duckdb.connect() as database:
        database.execute(
            "create table t as select 'a@post.example' as email, 7 as points, date '2026-01-02' as since"
        )
        database.table("t").write_parquet(str(path))

    found = build_list(tmp_path, str(path))

    assert read_rows(found.path, found.all) == [
        Recipient(1, "a@post.example", None, {"points": "7", "since": "2026-01-02"})
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_file_that_is_named_is_read_and_no_other(tmp_path: Path, kind: str) -> None:
    """A name with brackets or a star, as browsers make it, and a folder with a = mean that one file as it stands."""
    folder = tmp_path / "name=Bob"
    folder.mkdir()
    names = ("customers1", "customers[1]", "customers*", "customers?")
    for name in names:
        written = folder / f"{kind}.new"
        with duckdb.connect() as database:
            query = f"select '{name}@post.example' as email, 'Ada' as name"
            database.execute(f"copy ({query}) to '{written}' (format {kind})")
        written.rename(folder / f"{name}.{kind}")

    for name in names:
        found = build_list(tmp_path, str(folder / f"{name}.{kind}"))
        assert read_rows(found.path, found.all) == [
            Recipient(1, f"{name}@post.example", None, {"name": "Ada"})
        ]


def test_addresses_of_any_type_are_text(tmp_path: Path) -> None:
    """A Parquet file whose addresses are all missing, which pandas writes as numbers, is a list nevertheless."""
    path = tmp_path / "list.parquet"
    with duckdb.connect() as database:
        database.execute(f"copy (select null::double as email, 'Ada' as name) to '{path}'")

    found = build_list(tmp_path, str(path))

    assert read_rows(found.path, found.all) == [Recipient(1, None, None, {"name": "Ada"})]


def test_a_list_may_have_many_columns(tmp_path: Path) -> None:
    """A list with 1,000 columns, as other programs export it, is read, and so is a page of it."""
    names = ",".join(["email", *(f"column_{number}" for number in range(999))])
    row = "a@post.example" + ",some text of a cell" * 999
    (tmp_path / "list.csv").write_text("\n".join([names, *[row] * 2100]))

    found = build_list(tmp_path, str(tmp_path / "list.csv"))

    page = read_rows(found.path, RowRange(2001, 2100))
    assert [len(each.fields) for each in page] == [999] * 100


def test_a_generated_list_has_distinct_addresses(tmp_path: Path) -> None:
    """The demo's list has as many recipients as asked for, none twice, and is read a page at a time."""
    found = build_list(tmp_path, generated=2500)

    page = read_rows(found.path, RowRange(1001, 2000))
    assert [each.row for each in page] == list(range(1001, 2001))
    everybody = read_rows(found.path, found.all)
    assert len({each.email for each in everybody}) == 2500
    assert all(each.duplicate_of is None and {"name", "city"} == set(each.fields) for each in everybody)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "mail,name\nx,y\n", "but none named email"),
        ("list.csv", "email,_row\nx,y\n", "has a column _row"),
        (
            "list.csv",
            "email,token\nx,y\n",
            "has a column token, a name that templates have for something else",
        ),
        ("list.csv", "campaign;email\nx;y\n", "has a column campaign, .* for instance to my_campaign"),
        ("list.csv", b"email\n\xff\xfe\xff\n", "cannot be read: it is not UTF-8"),
        (
            "list.csv",
            "email,name\n" * 9 + "x\n",
            "Line: 10 Original Line: x Expected Number of Columns: 2 Found: 1",
        ),
        (
            "list.csv",
            "email,name\nx\n" + "x,y\n" * 9,
            "Line: 2 Original Line: x Expected Number of Columns: 2",
        ),
        ("list.csv", "\nemail\nx\n", "has an empty first line"),
        ("list.csv", "email,Name,name\nx,y,z\n", "names several columns Name and name"),
        ("list.parquet", "email\n", "cannot be read"),
        ("list.xlsx", "", "is .xlsx, accepted: .csv, .parquet"),
        ("list.csv", None, "cannot be read: No such file"),
    ],
)
def test_a_source_that_is_no_list_is_refused(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    """A file that is missing, of another kind or without addresses is named, with what is wrong; nothing is left."""
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(CampaignError, match=message) as error:
        build_list(tmp_path / "lists", str(tmp_path / name))
    assert name in str(error.value)
    assert not list((tmp_path / "lists").glob("*")) if (tmp_path / "lists").exists() else True


@pytest.mark.parametrize(
    "told",
    [
        "Out of Memory Error: failed to pin block\n\nPossible solutions:\n* SET threads=X",
        "Binder Error: no such column\nCandidate bindings: x\n\nLINE 1: select",
        "Invalid Input Error: bad\nPossible fixes:\n* store_rejects=true",
    ],
)
def test_advice_for_those_who_write_sql_is_left_out(told: str) -> None:
    """An error of the database is given in its first words, without options that no setting has."""
    assert _reason(duckdb.Error(told)) == told.partition("\n")[0] + "."
