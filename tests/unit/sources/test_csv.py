"""Tables as spreadsheets and scripts write them, and what is wrong with those that cannot work."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import Reach, open_source

from .pictures import by_key, found, png, write_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path, "1.png", "sub/2.png", "grün.png", "it's, 4.png")


def table(root: Path, text: str, encoding: str = "utf-8", name: str = "t.csv") -> Path:
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


def open_csv(path: Path, **options: Any) -> Any:
    reach = Reach(web=options.pop("fetched", None))
    return open_source({"kind": "csv", "path": path, **options}, reach)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_delimiter_and_encoding_are_found(root: Path, delimiter: str, encoding: str) -> None:
    text = "path,label\n1.png,blau\ngrün.png,grün\n".replace(",", delimiter)

    source = open_csv(table(root, text, encoding))

    assert found(source) == [("1.png", "blau"), ("grün.png", "grün")]
    assert by_key(source)["grün.png"].read_bytes() == png(2)


def test_quotes_keep_delimiters_and_line_ends_inside_a_cell(root: Path) -> None:
    source = open_csv(table(root, 'path,label,note\r\n"it\'s, 4.png",cat,"two\r\nlines"\r\n'))

    [item] = source.items()
    assert item.read_bytes() == png(3)
    assert item.metadata == {"note": "two\r\nlines"}


def test_columns_are_found_by_their_usual_names_and_the_rest_is_metadata(root: Path) -> None:
    source = open_csv(table(root, "id,Filename,Class,subset,camera\n7,1.png,cat,train,A\n"))

    [item] = source.items()
    assert (item.key, item.label, item.split) == ("1.png", "cat", "train")
    assert item.metadata == {"id": "7", "camera": "A"}


def test_columns_can_be_named(root: Path) -> None:
    text = "a,b,c,d,path\n1.png,cat,val,x,wrong\n"
    names = {"image_column": "a", "label_column": "b", "split_column": "c"}

    [item] = open_csv(table(root, text), **names, metadata_columns=["d"]).items()

    assert (item.key, item.label, item.split, item.metadata) == ("1.png", "cat", "val", {"d": "x"})


def test_paths_start_at_the_table_or_at_root(root: Path, tmp_path_factory: Any) -> None:
    elsewhere = table(tmp_path_factory.mktemp("elsewhere"), "path\nsub/2.png\n")

    [item] = open_csv(elsewhere, root=root).items()

    assert item.path == root / "sub" / "2.png"
    assert item.read_bytes() == png(1)


def test_windows_backslashes_are_paths_and_drives_are_refused(root: Path) -> None:
    source = open_csv(table(root, "path\nsub\\2.png\nC:\\images\\1.png\n"))

    assert [item.read_bytes() for item in source.items()] == [png(1)]
    assert "Windows drive" in source.problems.listed[0][1]


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "/etc/passwd"])
def test_a_path_out_of_the_root_is_refused_unless_allowed(root: Path, path: str) -> None:
    written = table(root, f"path\n1.png\n{path}\n")
    source = open_csv(written)

    assert [key for key, _ in found(source)] == ["1.png"]
    assert "outside" in source.problems.listed[0][1]
    assert len(found(open_csv(written, outside_root=True))) == 2


def test_a_link_out_of_the_root_is_refused_when_it_is_read(
    root: Path, tmp_path_factory: Any
) -> None:
    secret = write_images(tmp_path_factory.mktemp("outside"), "secret.png") / "secret.png"
    (root / "link.png").symlink_to(secret)

    items = by_key(open_csv(table(root, "path\n1.png\nlink.png\n")))

    with pytest.raises(ImageUnreadable, match="leads out"):
        items["link.png"].read_bytes()


def test_a_file_address_does_not_go_round_the_root(root: Path) -> None:
    source = open_csv(table(root, "path\n1.png\nfile:///etc/passwd\nFILE:/etc/passwd\n"))

    assert [key for key, _ in found(source)] == ["1.png"]
    assert source.problems.count == 2


def test_web_addresses_are_fetched_by_what_the_wiring_gives(root: Path) -> None:
    asked = []

    def web(address: str, max_bytes: int) -> bytes:
        asked.append((address, max_bytes))
        return png(5)

    path = table(root, "url,label\nhttps://images.invalid/5.png,cat\n")
    [item] = open_csv(path, fetched=web).items()

    assert item.uri == "https://images.invalid/5.png"
    assert item.path is None
    assert item.read_bytes(99) == png(5)
    assert asked == [("https://images.invalid/5.png", 99)]
    [alone] = open_csv(path).items()
    with pytest.raises(ImageUnreadable, match="not read here"):
        alone.read_bytes()


def test_rows_that_are_no_rows_are_named_by_their_line(root: Path) -> None:
    text = 'path,label\n1.png,cat\n\n,cat\nsub/2.png\n\x00.png,dog\n1.png,"do\ng"\n'
    source = open_csv(table(root, text), encoding="utf-8")

    assert found(source) == [("1.png", "cat")]
    assert source.problems.listed == [
        ("line 4", "no path"),
        ("line 5", "1 columns, expected 2"),
        ("line 6", "a cell with control characters"),
        ("line 8", "a cell with control characters"),
    ]


def test_a_missing_file_shows_when_it_is_read(root: Path) -> None:
    items = by_key(open_csv(table(root, "path\n1.png\ngone.png\n")))

    with pytest.raises(ImageUnreadable, match=r"gone\.png: there is no such file"):
        items["gone.png"].read_bytes()


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "empty, expected a header"),
        ("path,label\n", {}, "names no image"),
        ("foto,art\n1.png,cat\n", {}, "no column of the table is called like a path.*foto, art"),
        ("1.png,cat\nsub/2.png,dog\n", {}, "is no header"),
        ("path,label\n1.png,cat\n", {"image_column": "pth"}, r"'pth' \(did you mean 'path'\?\)"),
        ("path,label\n1.png,cat\n", {"label_column": "labl"}, r"did you mean 'label'"),
        ("path,label\n1.png,cat\n", {"metadata_columns": ["x"]}, "metadata_columns: .*'x'"),
        ("path,label\n1.png,cat\n", {"delimiter": ";"}, "is its delimiter ','"),
        ("path,label\n1.png,cat\n", {"delimiter": "::"}, "expected one character"),
        ("path,label\n1.png,cat\n", {"encoding": "utf-9"}, "not known; common are"),
        ("path,path\n1.png,cat\n", {}, "two columns named 'path'"),
        ("path,label\n1.png,\n", {"label_column": "label"}, "is empty in the first 1 rows"),
        ("path,label\nx/1.png,cat\n", {}, "set root to the folder"),
        ("path,label\n../1.png,cat\n", {}, "names no image; line 2: .*outside"),
        ("path,label\n1.png,cat\n", {"root": "/nowhere"}, "root '/nowhere': there is no such"),
    ],
)
def test_a_table_that_cannot_work_says_what_to_do(
    root: Path, text: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_csv(table(root, text), **options)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\xd0\xcf\x11\xe0", "old Excel"),
        (b"PAR1", "Parquet"),
        ("path\n1.png\n".encode("utf-16-le"), "encoding: utf-16-le"),
    ],
)
def test_a_file_that_is_no_table_is_named_for_what_it_is(
    root: Path, content: bytes, says: str
) -> None:
    path = root / "t.csv"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=says):
        open_csv(path)


def test_a_table_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.csv.*no such file"):
        open_csv(tmp_path / "gone.csv")


def test_a_named_encoding_that_does_not_fit_is_refused(root: Path) -> None:
    path = table(root, "path,label\n1.png,grün\n", "latin-1")

    with pytest.raises(ConfigurationError, match=r"not utf-8|cannot be read as utf-8"):
        open_csv(path, encoding="utf-8")


@pytest.mark.parametrize("swallowed", [10, 1_100_000])
def test_a_quote_left_open_is_refused_and_does_not_swallow_the_file(
    root: Path, swallowed: int
) -> None:
    path = table(root, 'path,label\n1.png,"cat\n' + "x" * swallowed)

    with pytest.raises(ConfigurationError, match="is a quote left open"):
        open_csv(path)


def test_memory_does_not_grow_with_the_number_of_rows(root: Path) -> None:
    path = root / "long.csv"
    with path.open("w") as file:
        file.write("path,label\n")
        file.writelines(f"https://images.invalid/{row}.png,cat\n" for row in range(30_000))
    source = open_csv(path)

    tracemalloc.start()
    rows = sum(1 for _ in source.items())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert rows == 30_000
    assert peak < 500_000  # bytes; the file itself is more than twice as large
